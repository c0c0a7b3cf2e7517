import html.parser
import json
import math
import re
from importlib import resources
from xml.etree import ElementTree

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import amodal_jax
from amodal_jax.visualization.charts import LINE_COLOURS, line_chart, line_chart_image, ticks

finite = st.floats(-1e6, 1e6)


@hypothesis.given(finite, finite, st.integers(2, 8))
def test_ticks_cover_the_range_in_round_steps(a, b, count):
    low, high = min(a, b), max(a, b)
    hypothesis.assume(high - low > 1e-6 * max(abs(low), abs(high), 1e-3))
    marks = np.array(ticks(low, high, count))
    step = marks[1] - marks[0]
    slack = 1e-6 * step
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert len(marks) <= count + 3
    np.testing.assert_allclose(np.diff(marks), step, rtol=1e-6)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5)) < 1e-4


def test_ticks_of_a_constant():
    assert ticks(7.0, 7.0, 5)[0] <= 7 < ticks(7.0, 7.0, 5)[-1]
    assert ticks(0.0, 0.0, 5)[-1] > 0


class Chart(html.parser.HTMLParser):
    """The lines of a chart as arrays of points, and its data."""

    def __init__(self, text):
        super().__init__()
        self.lines, self.texts, self.data, self._tag = [], [], None, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        if tag == "polyline":
            points = dict(attrs)["points"].split(" ")
            self.lines.append(np.array([[float(value) for value in point.split(",")] for point in points]))

    def handle_endtag(self, tag):
        self._tag = ""

    def handle_data(self, data):
        if self._tag == "script":
            self.data = json.loads(data)
        else:
            self.texts.append(data)


def test_points_lie_where_the_axes_say():
    chart = Chart(line_chart("Loss", {"a": {0: 0.0, 50: 5.0, 100: 10.0}, "b": {100: 2.0, 0: 2.0}}))
    a, b = chart.lines
    np.testing.assert_allclose(np.diff(a, axis=0)[0], np.diff(a, axis=0)[1], atol=0.15)
    assert a[0, 1] > a[1, 1] > a[2, 1], "up is more"
    assert b[0, 0] == a[0, 0], "sorted by step"
    assert b[0, 1] == b[1, 1]
    assert {"0", "10", "40", "100", "a", "b"} <= set(chart.texts)


def test_values_that_are_not_finite_are_left_out():
    chart = Chart(line_chart("Loss", {"a": {1: 1.0, 2: math.nan, 3: math.inf, 4: 2.0}, "b": {1: math.nan}}))
    assert [[step for step, _ in line["points"]] for line in chart.data["lines"]] == [[1, 4]]


def test_long_series_are_thinned_to_means():
    chart = Chart(line_chart("Loss", {"a": {step: float(step % 2) for step in range(10_000)}}))
    values = np.array(chart.data["lines"][0]["points"])
    assert len(values) == 500
    np.testing.assert_allclose(values[:, 1], 0.5)


def test_one_point_is_enough():
    assert len(Chart(line_chart("Loss", {"a": {5: 1.0}})).lines[0]) == 1


def test_an_image_stands_by_itself():
    lines = {"from scratch": {100: 0.1, 200: 0.3}, "a < b": {50: 0.2}, "nothing": {1: float("nan")}}
    root = ElementTree.fromstring(line_chart_image("Precision & recall", lines))
    name = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{name}text")]
    assert texts[:3] == ["Precision & recall", "from scratch", "a < b"]
    points = [element.get("points") for element in root.iter(f"{name}polyline")]
    inline = Chart(line_chart("Precision & recall", lines)).lines
    for drawn, line in zip(points, inline, strict=True):
        np.testing.assert_array_equal([[float(v) for v in point.split(",")] for point in drawn.split(" ")], line)
    width, height = (float(side) for side in root.get("viewBox").split()[2:])
    head = float(next(root.iter(f"{name}g")).get("transform").removeprefix("translate(0 ").removesuffix(")"))
    for dot in root.iter(f"{name}circle"):
        assert 0 < float(dot.get("cx")) < width
        assert head < head + float(dot.get("cy")) < height


def test_a_name_cannot_end_the_script_of_the_data():
    name = "</script><!--'&"
    text = line_chart("Loss", {name: {0: 1.0}, "b": {0: 2.0}})
    assert text.count("</script>") == 1
    assert "<!--" not in text
    assert [line["name"] for line in Chart(text).data["lines"]] == [name, "b"]


# Linear RGB as it is seen with one kind of cone missing (Machado, Oliveira and Fernandes 2009, severity 1).
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colours: list[str]) -> np.ndarray:
    values = np.array([[int(colour[place : place + 2], 16) for place in (0, 2, 4)] for colour in colours]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def cielab(colours: np.ndarray) -> np.ndarray:
    xyz = np.clip(colours, 0, 1) @ RGB_TO_XYZ.T / (0.95047, 1, 1.08883)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize(("place", "scheme"), enumerate(("light", "dark")))
def test_lines_are_told_apart_by_everybody(place, scheme):
    style = (resources.files(amodal_jax) / "visualization" / "templates" / "report.html").read_text()
    lines = linear([colour.removeprefix("#") for colour in LINE_COLOURS[scheme]])
    panel = linear([re.findall(r"--panel: #(\w+);", style)[place].ljust(6, "f")])
    assert len(lines) == 8
    for matrix in COLOUR_VISION.values():
        seen = cielab(lines @ np.transpose(matrix))
        distances = np.linalg.norm(seen[:, None] - seen, axis=-1)[np.triu_indices(8, 1)]
        assert distances.min() > 25
    brightness, background = lines @ RGB_TO_XYZ[1], panel @ RGB_TO_XYZ[1]
    contrast = (np.maximum(brightness, background) + 0.05) / (np.minimum(brightness, background) + 0.05)
    assert contrast.min() > 2.95
