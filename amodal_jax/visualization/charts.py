"""Line charts as SVG: inline, for a page without external resources, and as images of their own."""

import html
import json
import math

import numpy as np

from amodal_jax.runs.metrics_log import Series

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 30
_MOST_POINTS = 500  # of a line; a screen shows no more
_LEGEND_ROW = 18

# As far apart as eight colours can be for every kind of colour vision; on light ground, and on dark.
LINE_COLOURS = {
    "light": ("#006688", "#dd7700", "#6600ff", "#889977", "#663300", "#cc66ff", "#000066", "#220011"),
    "dark": ("#00aaff", "#dd8811", "#22ff99", "#995588", "#ffff00", "#6644ff", "#ccffff", "#667744"),
}


def line_chart(title: str, lines: dict[str, Series]) -> str:
    """A figure with one line for each series over the training step, to stand in a page.

    The page's style gives the classes c0, c1, ... the colours of LINE_COLOURS. Its script shows the values under the
    pointer: it reads the data element beside the SVG. More points than the screen has columns are thinned to the mean
    of each stretch of steps. Values that are not finite are left out.

    Args:
      title: what is drawn, and its unit.
      lines: series by name, at least one of them with a finite value.
    """
    points = _points(lines)
    drawing, frame = _drawing(points)
    legend = [f'<span><i class="c{_colour(index)}"></i>{html.escape(name)}</span>' for index, name in enumerate(points)]
    data = [
        {"name": name, "points": [[int(step), float(f"{v:.6g}")] for step, v in line]} for name, line in points.items()
    ]
    shown_legend = f'<p class="legend">{"".join(legend)}</p>' if len(points) > 1 else ""
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<div class="plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)} by step">'
        f'{drawing}<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/></svg>'
        f'<div class="readout" hidden></div></div>{shown_legend}'
        f'<script type="application/json">{script_json({"frame": frame, "lines": data})}</script></figure>'
    )


def line_chart_image(title: str, lines: dict[str, Series]) -> str:
    """The same chart as the content of an SVG file, on white, with its title and legend."""
    points = _points(lines)
    drawing, _ = _drawing(points)
    head = 26 + _LEGEND_ROW * len(points)
    legend = "".join(
        f'<rect class="key c{_colour(index)}" x="{_LEFT}" y="{28 + _LEGEND_ROW * index}" width="10" height="10"/>'
        f'<text class="name" x="{_LEFT + 17}" y="{37 + _LEGEND_ROW * index}">{html.escape(name)}</text>'
        for index, name in enumerate(points)
    )
    colours = "".join(f".c{index}{{--colour:{colour}}}" for index, colour in enumerate(LINE_COLOURS["light"]))
    style = (
        "text{font:12px system-ui,sans-serif}.title{font-weight:600;font-size:14px}.grid{stroke:#dde1e7}"
        ".mark{stroke:#5b6573}.tick{fill:#5b6573}.line{fill:none;stroke:var(--colour);stroke-width:1.8}"
        f".dot,.key{{fill:var(--colour)}}{colours}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + head}" width="{_WIDTH}" '
        f'height="{_HEIGHT + head}"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text class="title" x="{_LEFT}" y="18">{html.escape(title)}</text>{legend}'
        f'<g transform="translate(0 {head})">{drawing}</g></svg>\n'
    )


def _points(lines: dict[str, Series]) -> dict[str, np.ndarray]:
    """The rows of (step, value) that are drawn of each line that has any."""
    finite = {
        name: {step: value for step, value in sorted(series.items()) if math.isfinite(value)}
        for name, series in lines.items()
    }
    return {name: _thinned(series) for name, series in finite.items() if series}


def _colour(index: int) -> int:
    return index % len(LINE_COLOURS["light"])


def _drawing(points: dict[str, np.ndarray]) -> tuple[str, list[float | int]]:
    """Axes and lines, and the frame: the least and greatest step, and the columns at which they lie."""
    steps = np.concatenate([line[:, 0] for line in points.values()])
    values = np.concatenate([line[:, 1] for line in points.values()])
    x_ticks = ticks(float(steps.min()), float(steps.max()), 6)
    # Rates, losses and precisions are ratios: the length from zero means something.
    y_ticks = ticks(min(0.0, float(values.min())), max(0.0, float(values.max())), 5)
    x_low, x_high = float(steps.min()), float(steps.max())
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def x(step):
        return _LEFT + (step - x_low) / max(x_high - x_low, 1e-12) * (_WIDTH - _LEFT - _RIGHT)

    def y(value):
        return _HEIGHT - _BOTTOM - (value - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in y_ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text class="tick" x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
        )
    for tick in x_ticks:
        if x_low <= tick <= x_high and float(tick).is_integer():
            parts.append(
                f'<line class="mark" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_HEIGHT - _BOTTOM}" '
                f'y2="{_HEIGHT - _BOTTOM + 4}"/><text class="tick" x="{x(tick):.1f}" y="{_HEIGHT - 10}" '
                f'text-anchor="middle">{_number(tick)}</text>'
            )
    for index, line in enumerate(points.values()):
        colour = _colour(index)
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line)
        parts.append(f'<polyline class="line c{colour}" points="{path}"/>')
        if len(line) <= 30:
            parts += [
                f'<circle class="dot c{colour}" r="2.6" cx="{x(step):.1f}" cy="{y(value):.1f}"/>'
                for step, value in line
            ]
    return "".join(parts), [x_low, x_high, _LEFT, _WIDTH - _RIGHT]


def script_json(value: object) -> str:
    """JSON that cannot end the script element which it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if abs(value) >= 1e5:
        return f"{value / 1000:.6g}k"
    return f"{value:.6g}"


def _thinned(series: Series) -> np.ndarray:
    """Rows of (step, value), the means of equal stretches where there are too many."""
    points = np.array(list(series.items()), float)
    if len(points) <= _MOST_POINTS:
        return points
    return np.stack([stretch.mean(0) for stretch in np.array_split(points, _MOST_POINTS)])
