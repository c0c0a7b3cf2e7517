"""Bar charts as SVG files that stand alone, on a page as well as in a text that shows them as images."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from amodal_jax.visualization.charts import ticks

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 62, 48
_COLOURS = ("#2f6fb0", "#e0912f")
_STYLE = """\
text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:14px;font-weight:600}.axis{fill:#666}
.background{fill:#fff}.grid{stroke:#e4e4e4}.base{stroke:#888}
@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{fill:#aaa}.background{fill:#16181d}.grid{stroke:#343840}}"""


@dataclass(frozen=True)
class Bars:
    """One set of bars."""

    name: str
    heights: Sequence[float | None]  # at least 0, one for each group; None draws no bar


def bar_chart(title: str, x_label: str, groups: Sequence[str], sets: Sequence[Bars], *, unit: str = "%") -> str:
    """An SVG document of one or two bars for each group.

    Args:
        title: what is drawn.
        x_label: what the groups are.
        groups: their names, from left to right.
        sets: one or two of them.
        unit: of the heights, beside the numbers on the left.
    """
    highest = max((height for bars in sets for height in bars.heights if height is not None), default=0.0)
    y_ticks = ticks(0.0, highest or 1.0, 5)
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    group_width = plot_width / max(len(groups), 1)
    bar_width = 0.76 * group_width / len(sets)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / y_ticks[-1] * plot_height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{html.escape(title)}"><style>{_STYLE}</style>'
        f'<rect class="background" width="{_WIDTH}" height="{_HEIGHT}"/>'
        f'<text class="title" x="{_LEFT}" y="24">{html.escape(title)}</text>'
    ]
    for tick in y_ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text class="axis" x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g} {unit}</text>'
        )
    for position, bars in enumerate(sets):
        colour = _COLOURS[position]
        for index, height in enumerate(bars.heights):
            if height is None:
                continue
            x = _LEFT + (index + 0.12) * group_width + position * bar_width
            parts.append(
                f'<rect fill="{colour}" x="{x:.1f}" y="{y(height):.1f}" width="{bar_width:.1f}" '
                f'height="{_HEIGHT - _BOTTOM - y(height):.1f}"><title>{html.escape(bars.name)}, '
                f"{html.escape(groups[index])}: {height:.4g} {unit}</title></rect>"
            )
        if len(sets) > 1:
            x = _LEFT + 130 * position
            parts.append(
                f'<rect fill="{colour}" x="{x}" y="36" width="11" height="11"/>'
                f'<text x="{x + 17}" y="46">{html.escape(bars.name)}</text>'
            )
    base = _HEIGHT - _BOTTOM
    parts.append(f'<line class="base" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    for index, group in enumerate(groups):
        x = _LEFT + (index + 0.5) * group_width
        parts.append(f'<text class="axis" x="{x:.1f}" y="{base + 17}" text-anchor="middle">{html.escape(group)}</text>')
    parts.append(
        f'<text class="axis" x="{_LEFT + plot_width / 2}" y="{_HEIGHT - 10}" text-anchor="middle">'
        f"{html.escape(x_label)}</text></svg>\n"
    )
    return "".join(parts)
