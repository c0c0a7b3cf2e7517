"""The distributions of the statistics as SVG charts, those that the paper draws and its Table 1."""

from collections.abc import Mapping, Sequence

from data.statistics import published
from data.statistics.bar_chart import Bars, bar_chart
from data.statistics.statistics import IOU_BINS, LEVEL_BINS, Statistics

_MOST_CLASSES = 9  # of the chart
_LAST = 10  # of the numbers that have a bar of their own; all that is more has the last one


def statistics_charts(statistics: Statistics) -> dict[str, str]:
    """The charts as SVG documents, by the name of the file that each is for."""
    classes = _most_frequent(statistics.classes)
    charts = {
        "classes": bar_chart(
            "Classes",
            "class",
            list(classes),
            [
                Bars("here", _percent(list(classes.values()))),
                Bars("KINS, Table 1", [_of_paper(name) for name in classes]),
            ],
        ),
        "occlusion_level": bar_chart(
            "Occlusion level of the occluded instances (Figure 4a)",
            "share of the instance that is hidden, up to",
            [f"{(index + 1) / LEVEL_BINS:g}" for index in range(LEVEL_BINS)],
            [Bars("instances", _percent(statistics.occlusion_level_histogram))],
        ),
        "max_occlusion_order": bar_chart(
            "Maximum occlusion order of the clusters (Figure 4c)",
            "occluded instances in a cluster",
            _NUMBERS,
            [Bars("clusters", _percent(_by_number(statistics.max_occlusion_orders)))],
        ),
        "match_number": bar_chart(
            "Match number of the instances (Figure 4c)",
            "others that overlap an instance",
            _NUMBERS,
            [Bars("instances", _percent(_by_number(statistics.match_numbers)))],
        ),
    }
    if statistics.kitti is not None:
        charts["kitti_boxes"] = bar_chart(
            "Visible boxes against KITTI's own (Figure 4b)",
            "mean IoU of an image, up to",
            [f"{(index + 1) / IOU_BINS:g}" if index % 2 else "" for index in range(IOU_BINS)],
            [Bars("images", _percent(statistics.kitti.image_iou_histogram))],
        )
    return charts


_NUMBERS = [*(str(number) for number in range(_LAST)), f"{_LAST}+"]


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """As many classes as there is room to write the names of, the others together."""
    if len(counts) <= _MOST_CLASSES:
        return dict(counts)
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    kept = dict(ordered[: _MOST_CLASSES - 1])
    return {**kept, "others": sum(counts.values()) - sum(kept.values())}


def _by_number(counts: Mapping[int, int]) -> list[int]:
    return [
        *(counts.get(number, 0) for number in range(_LAST)),
        sum(count for number, count in counts.items() if number >= _LAST),
    ]


def _percent(counts: Sequence[int]) -> list[float]:
    total = max(sum(counts), 1)
    return [100 * count / total for count in counts]


def _of_paper(name: str) -> float | None:
    share = published.class_share(name)
    return None if share is None else 100 * share
