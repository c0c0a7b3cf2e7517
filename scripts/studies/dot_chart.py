"""A chart of a few values in each of several rows: a dot each, and a bar at their mean."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from amodal_jax.visualization.charts import ticks
from amodal_jax.visualization.pages import render

_LABELS, _WIDTH, _ROW, _BOTTOM, _MARGIN = 230, 640, 24, 26, 24  # pixels

TEMPLATES = Path(__file__).with_name("templates")
"""Of the study's pages."""


def dot_chart(title: str, rows: dict[str, Sequence[float]]) -> Markup:
    """The chart as a figure of a page, whose style gives grid, tick, name, mean and dot their colours.

    Args:
      title: what the values are, and their unit.
      rows: the values of each row by its name, at least one of each.
    """
    everything = [value for values in rows.values() for value in values]
    marks = ticks(min(everything), max(everything), 6)
    low, high = marks[0], marks[-1]

    def x(value: float) -> str:
        return f"{_LABELS + (value - low) / (high - low) * (_WIDTH - _LABELS - _MARGIN):.1f}"

    return render(
        "dot_chart.html",
        folder=TEMPLATES,
        title=title,
        width=_WIDTH,
        height=_ROW * len(rows) + _BOTTOM,
        foot=_ROW * len(rows),
        labels=_LABELS,
        ticks=[(x(mark), f"{mark:.6g}") for mark in marks],
        rows=[
            (name, _ROW * position + _ROW // 2, x(sum(values) / len(values)), [x(value) for value in values])
            for position, (name, values) in enumerate(rows.items())
        ],
    )
