"""The statistics as a table of text, with the paper's own figures beside them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data.statistics import published
from data.statistics.statistics import Statistics

_MISSING = "-"
_KITTI = "visible boxes against KITTI's own (Figure 4b)"


class Row(NamedTuple):
    """One figure, as it is printed."""

    name: str
    value: str
    paper: str


def statistics_table(columns: Mapping[str, Statistics]) -> str:
    """The table of one or several columns of figures, each named by its heading; all have the same classes."""
    compared = any(statistics.kitti is not None for statistics in columns.values())
    sections = [dict(sections_of(statistics)) for statistics in columns.values()]
    headings = [*columns, "paper"]
    lines: list[tuple[str, ...] | str] = []
    for title in sections[0]:
        if title == _KITTI and not compared:
            continue
        lines.append(title)
        for rows in zip(*(section[title] for section in sections), strict=True):
            lines.append((f"  {rows[0].name}", *(row.value for row in rows), rows[0].paper))
    name_width = max(len(line if isinstance(line, str) else line[0]) for line in lines)
    widths = [
        max(len(heading), *(len(line[index + 1]) for line in lines if not isinstance(line, str)))
        for index, heading in enumerate(headings)
    ]

    def row(name: str, cells: Iterable[str]) -> str:
        return f"{name:{name_width}}  {'  '.join(f'{c:>{w}}' for c, w in zip(cells, widths, strict=True))}".rstrip()

    return "\n".join(
        [row("", headings), *(line if isinstance(line, str) else row(line[0], line[1:]) for line in lines)]
    )


def sections_of(statistics: Statistics) -> list[tuple[str, list[Row]]]:
    """The rows under their titles. Whatever the figures are, the titles and names are the same for the same classes."""
    s = statistics
    counted = sum(s.classes.values())
    kitti = s.kitti
    return [
        (
            "images and instances",
            [
                Row("images", f"{s.images}", f"{sum(published.IMAGES.values())}"),
                Row("images without an instance", f"{s.images_without_instances}", _MISSING),
                Row("instances", f"{s.instances}", _MISSING),
                Row("annotations left out, unreadable", f"{s.annotations_left_out}", _MISSING),
                Row("instances per image", f"{s.instances_per_image:.2f}", f"{published.INSTANCES_PER_IMAGE:.2f}"),
                Row(
                    "polygon points per instance",
                    _decimal(s.polygon_points_per_instance, 2),
                    _decimal(published.POLYGON_POINTS_PER_INSTANCE, 2),
                ),
                Row("pixels covered, of all", _percent(s.covered_share), _percent(published.COVERED_SHARE)),
                Row("pixels covered, mean over images", _percent(s.mean_covered_share), _MISSING),
            ],
        ),
        (
            "occlusion",
            [
                Row("instances with a hidden pixel", _percent(s.occluded_share), _percent(published.OCCLUDED_SHARE)),
                Row("instances over 5 % hidden", _percent(s.noticeably_occluded_share), _MISSING),
                Row(
                    "mean occlusion ratio of all",
                    _percent(s.mean_occlusion_ratio),
                    f"{_percent(published.MEAN_OCCLUSION_RATIO)} (1)",
                ),
                Row(
                    "mean occlusion ratio of the occluded",
                    _percent(s.mean_occlusion_ratio_of_occluded),
                    f"{_percent(published.MEAN_OCCLUSION_RATIO)} (1)",
                ),
            ],
        ),
        (
            "classes (Table 1)",
            [
                Row(name, f"{count} {_percent(count / counted if counted else None):>7}", _share_of_class(name))
                for name, count in s.classes.items()
            ],
        ),
        (
            "shape (Table 2)",
            [
                Row("simplicity, amodal", _decimal(s.amodal_simplicity), _decimal(published.AMODAL_SIMPLICITY)),
                Row("simplicity, inmodal", _decimal(s.inmodal_simplicity), _decimal(published.INMODAL_SIMPLICITY)),
                Row("convexity, amodal", _decimal(s.amodal_convexity), _decimal(published.AMODAL_CONVEXITY)),
                Row("convexity, inmodal", _decimal(s.inmodal_convexity), _decimal(published.INMODAL_CONVEXITY)),
            ],
        ),
        (
            "occlusion level of the occluded (Figure 4a)",
            [
                Row(f"{index / 10:.1f} to {(index + 1) / 10:.1f}", _percent(share), _MISSING)
                for index, share in enumerate(_shares(s.occlusion_level_histogram))
            ],
        ),
        (
            "clusters by how many of their instances are occluded (Figure 4c)",
            [
                Row("clusters of two or more", f"{s.clusters}", _MISSING),
                *_distribution(
                    s.max_occlusion_orders, s.clusters, _percent(published.SHARE_OF_CLUSTERS_OVER_ORDER_6, 2)
                ),
            ],
        ),
        (
            "instances by how many others overlap them (Figure 4c)",
            _distribution(s.match_numbers, s.instances),
        ),
        (
            _KITTI,
            [
                Row("images with labels", _MISSING if kitti is None else f"{kitti.images}", _MISSING),
                Row(
                    "KITTI objects per image",
                    _MISSING if kitti is None else f"{kitti.kitti_objects / kitti.images:.2f}",
                    f"{published.KITTI_OBJECTS_PER_IMAGE:.2f}",
                ),
                Row(
                    "instances per such image",
                    _MISSING if kitti is None else f"{kitti.instances / kitti.images:.2f}",
                    f"{published.INSTANCES_PER_IMAGE_BESIDE_KITTI:.2f}",
                ),
                Row(
                    "KITTI objects matched",
                    _percent(kitti.matched / kitti.kitti_objects if kitti and kitti.kitti_objects else None),
                    _MISSING,
                ),
                Row("mean IoU of the pairs", _decimal(kitti.mean_iou if kitti else None), _MISSING),
                Row(
                    "images with a mean IoU over 0.65",
                    _percent(kitti.share_of_images_over_065 if kitti else None, 2),
                    _percent(published.SHARE_OF_IMAGES_OVER_065, 2),
                ),
            ],
        ),
    ]


NOTES = """\
(1) the paper does not say over which instances
The paper's class shares are those of Table 1 without `person-sitting`, of which the released files have none."""


def _distribution(counts: Mapping[int, int], total: int, paper: str = _MISSING) -> list[Row]:
    """Rows for 0 to 6 and one for all that is more, of which the paper may give the share."""
    rows = [
        Row(f"{number}", _percent(counts.get(number, 0) / total if total else None), _MISSING) for number in range(7)
    ]
    more = sum(count for number, count in counts.items() if number > 6)
    return [*rows, Row("7 or more", _percent(more / total if total else None), paper)]


def _shares(counts: tuple[int, ...]) -> list[float | None]:
    total = sum(counts)
    return [count / total if total else None for count in counts]


def _share_of_class(name: str) -> str:
    return _percent(published.class_share(name))


def _percent(share: float | None, digits: int = 1) -> str:
    return _MISSING if share is None else f"{100 * share:.{digits}f} %"


def _decimal(value: float | None, digits: int = 3) -> str:
    return _MISSING if value is None else f"{value:.{digits}f}"
