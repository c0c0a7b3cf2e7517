"""Simplicity and convexity on shapes of which the answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.masks import segmentation
from data.statistics.shape_complexity import mask_shape, polygons_shape, stored_shape

SQUARE = math.sqrt(math.pi) / 2


def drawn(inside, size=120):
    y, x = np.mgrid[:size, :size] + 0.5
    return segmentation.encode(inside(x, y))


def turned_square(side, angle):
    def inside(x, y):
        along = (x - 60) * math.cos(angle) + (y - 60) * math.sin(angle)
        across = (y - 60) * math.cos(angle) - (x - 60) * math.sin(angle)
        return (abs(along) < side / 2) & (abs(across) < side / 2)

    return inside


def test_polygons_have_their_exact_figures():
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)
    assert polygons_shape([square]) == pytest.approx((SQUARE, 1.0))
    # An L of three unit squares: perimeter 8, hull 3.5.
    corner = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], float)
    assert polygons_shape([corner]) == pytest.approx((math.sqrt(12 * math.pi) / 8, 3 / 3.5))
    # Two squares side by side with as wide a gap: a third of the hull is missing.
    assert polygons_shape([square, square + [20, 0]]) == pytest.approx((math.sqrt(800 * math.pi) / 80, 2 / 3))
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    assert polygons_shape([np.stack([np.cos(angles), np.sin(angles)], 1)]) == pytest.approx((1, 1), abs=1e-3)


@given(st.floats(0, 2 * math.pi), st.floats(-500, 500), st.floats(0.5, 50))
def test_where_a_polygon_lies_and_how_large_it_is_do_not_matter(angle, shift, scale):
    corner = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], float)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert polygons_shape([scale * corner @ turn.T + shift]) == pytest.approx(polygons_shape([corner]), rel=1e-3)


@given(st.floats(0, math.pi / 2))
def test_a_drawn_square_is_a_square_however_it_is_turned(angle):
    simplicity, convexity = mask_shape(drawn(turned_square(40, angle)))
    assert simplicity == pytest.approx(SQUARE, rel=0.04)
    assert 0.93 <= convexity <= 1


def test_a_drawn_disc_is_a_disc():
    simplicity, convexity = mask_shape(drawn(lambda x, y: (x - 60) ** 2 + (y - 60) ** 2 < 20**2))
    assert simplicity == pytest.approx(1, rel=0.04)
    assert 0.93 <= convexity <= 1


def test_a_hole_adds_to_the_perimeter_but_not_to_the_hull():
    def ring(x, y):
        return (abs(x - 60) < 40) & (abs(y - 60) < 40) & ~((abs(x - 60) < 20) & (abs(y - 60) < 20))

    area, perimeter = 80**2 - 40**2, 4 * 80 + 4 * 40
    simplicity, convexity = mask_shape(drawn(ring))
    assert simplicity == pytest.approx(math.sqrt(4 * math.pi * area) / perimeter, rel=0.01)
    assert convexity == pytest.approx(area / 80**2, rel=0.01)


def test_a_mask_of_one_pixel_has_a_shape():
    assert mask_shape(drawn(lambda x, y: (x == 7.5) & (y == 9.5))) == pytest.approx((1, 1))


def test_a_file_s_polygons_are_taken_where_they_draw_the_mask():
    triangle = [10.0, 10.0, 90.0, 20.0, 30.0, 100.0]
    mask, _ = segmentation.parse([triangle], 120, 120)
    assert stored_shape([triangle], mask) == polygons_shape([np.array(triangle).reshape(-1, 2)])
    assert tuple(stored_shape([triangle], mask)) == pytest.approx(tuple(mask_shape(mask)), rel=0.04)
    # Drawn twice, its area is not twice as large.
    assert stored_shape([triangle, triangle], mask) == mask_shape(mask)
    assert stored_shape(mask, mask) == mask_shape(mask)
