"""Line charts as inline SVG, for a page without external resources."""

import html
import json
import math

import numpy as np

from amodal_jax.visualize import PALETTE

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 30
_MOST_POINTS = 500  # of a line; a screen shows no more

Series = dict[int, float]
"""Values by training step."""


def line_chart(title: str, lines: dict[str, Series]) -> str:
    """A figure with one line for each series over the training step.

    The page's script shows the values under the pointer: it reads the data element beside the SVG. More points than the
    screen has columns are thinned to the mean of each stretch of steps. Values that are not finite are left out.

    Args:
      title: what is drawn, and its unit.
      lines: series by name, at least one of them with a finite value.
    """
    finite = {
        name: {step: value for step, value in sorted(series.items()) if math.isfinite(value)}
        for name, series in lines.items()
    }
    points = {name: _thinned(series) for name, series in finite.items() if series}
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
    legend = []
    data = []
    for index, (name, line) in enumerate(points.items()):
        colour = index % len(PALETTE)
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line)
        parts.append(f'<polyline class="line c{colour}" points="{path}"/>')
        if len(line) <= 30:
            parts += [
                f'<circle class="dot c{colour}" r="2.6" cx="{x(step):.1f}" cy="{y(value):.1f}"/>'
                for step, value in line
            ]
        legend.append(f'<span><i class="c{colour}"></i>{html.escape(name)}</span>')
        data.append({"name": name, "points": [[int(step), float(f"{v:.6g}")] for step, v in line]})
    frame = [x_low, x_high, _LEFT, _WIDTH - _RIGHT]
    shown_legend = f'<p class="legend">{"".join(legend)}</p>' if len(points) > 1 else ""
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<div class="plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)} by step">'
        f'{"".join(parts)}<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/></svg>'
        f'<div class="readout" hidden></div></div>{shown_legend}'
        f'<script type="application/json">{script_json({"frame": frame, "lines": data})}</script></figure>'
    )


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
