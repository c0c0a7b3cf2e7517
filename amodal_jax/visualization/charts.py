"""Line charts as SVG: inline, for a page without external resources, and as images of their own."""

import dataclasses
import math
from typing import Any

import numpy as np
from markupsafe import Markup

from amodal_jax.runs.metrics_log import Series
from amodal_jax.visualization.pages import render

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 30
_MOST_POINTS = 500  # of a line; a screen shows no more
_MOST_DOTS = 30  # points of a line that are drawn as dots, too
_LEGEND_ROW = 18

# As far apart as eight colours can be for every kind of colour vision; on light ground, and on dark.
LINE_COLOURS = {
    "light": ("#006688", "#dd7700", "#6600ff", "#889977", "#663300", "#cc66ff", "#000066", "#220011"),
    "dark": ("#00aaff", "#dd8811", "#22ff99", "#995588", "#ffff00", "#6644ff", "#ccffff", "#667744"),
}


@dataclasses.dataclass(frozen=True)
class _Tick:
    """A mark of an axis: where it is in the drawing, and what it says."""

    place: float
    label: str


@dataclasses.dataclass(frozen=True)
class _Line:
    """A line that is drawn, and its points (x, y) where they are few enough to be dots."""

    name: str
    colour: int
    path: str
    dots: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class _Chart:
    """What the templates draw: places in the drawing, which is `width` x `height` with margins around the plot."""

    title: str
    rows: list[_Tick]
    columns: list[_Tick]
    lines: list[_Line]
    data: dict[str, Any]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def line_chart(title: str, lines: dict[str, Series]) -> Markup:
    """A figure with one line for each series over the training step, to stand in a page.

    The page's style gives the classes c0, c1, ... the colours of LINE_COLOURS. Its script shows the values under the
    pointer: it reads the data element beside the SVG. More points than the screen has columns are thinned to the mean
    of each stretch of steps. Values that are not finite are left out.

    Args:
      title: what is drawn, and its unit.
      lines: series by name, at least one of them with a finite value.
    """
    return render("chart.html", chart=_chart(title, lines))


def line_chart_image(title: str, lines: dict[str, Series]) -> Markup:
    """The same chart as the content of an SVG file, on white, with its title and legend."""
    return render("chart_image.svg", chart=_chart(title, lines), colours=LINE_COLOURS["light"], legend_row=_LEGEND_ROW)


def _points(lines: dict[str, Series]) -> dict[str, np.ndarray]:
    """The rows of (step, value) that are drawn of each line that has any."""
    finite = {
        name: {step: value for step, value in sorted(series.items()) if math.isfinite(value)}
        for name, series in lines.items()
    }
    return {name: _thinned(series) for name, series in finite.items() if series}


def _chart(title: str, lines: dict[str, Series]) -> _Chart:
    """The lines, and the axes around them."""
    points = _points(lines)
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

    drawn = []
    for index, (name, line) in enumerate(points.items()):
        places = tuple((float(x(step)), float(y(value))) for step, value in line)
        path = " ".join(f"{column:.1f},{row:.1f}" for column, row in places)
        dots = places if len(places) <= _MOST_DOTS else ()
        drawn.append(_Line(name, index % len(LINE_COLOURS["light"]), path, dots))
    data = [
        {"name": name, "points": [[int(step), float(f"{v:.6g}")] for step, v in line]} for name, line in points.items()
    ]
    return _Chart(
        title=title,
        rows=[_Tick(y(tick), _number(tick)) for tick in y_ticks],
        columns=[
            _Tick(x(tick), _number(tick)) for tick in x_ticks if x_low <= tick <= x_high and float(tick).is_integer()
        ],
        lines=drawn,
        # The least and greatest step, and the columns at which they lie.
        data={"frame": [x_low, x_high, _LEFT, _WIDTH - _RIGHT], "lines": data},
    )


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
