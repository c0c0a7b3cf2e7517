"""A chart of a few values in each of several rows: a dot each, and a bar at their mean."""

from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from amodal_jax.visualization.charts import ticks

_LABELS, _WIDTH, _ROW, _BOTTOM, _MARGIN = 230, 640, 24, 26, 24  # pixels

_TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
    """<figure class="chart"><figcaption>{{ title }}</figcaption>
<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="{{ title }}">
{% for x, text in ticks %}
<line class="grid" x1="{{ x }}" x2="{{ x }}" y1="0" y2="{{ foot }}"/>
<text class="tick" x="{{ x }}" y="{{ foot + 18 }}" text-anchor="middle">{{ text }}</text>
{% endfor %}
{% for name, y, mean, dots in rows %}
<text class="name" x="{{ labels - 12 }}" y="{{ y + 4 }}" text-anchor="end">{{ name }}</text>
<line class="mean" x1="{{ mean }}" x2="{{ mean }}" y1="{{ y - 8 }}" y2="{{ y + 8 }}"/>
{% for x in dots %}
<circle class="dot" cx="{{ x }}" cy="{{ y }}" r="3.5"/>
{% endfor %}
{% endfor %}
</svg></figure>"""
)


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

    return Markup(
        _TEMPLATE.render(
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
    )
