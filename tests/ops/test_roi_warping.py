"""RoI warping against a literal loop over bins, its gradients against finite differences, and what shifts do to it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.ops.roi_warping import max_warping, roi_warping
from tests.helpers.warping_reference import roi_warping as reference

HEIGHT, WIDTH, CHANNELS = 9, 13, 3
STRIDE = 16
BOXES = np.float32(
    [
        [10, 20, 150, 120],  # within the map
        [-20, -40, 90, 60],  # over its first corner
        [100, 60, 300, 190],  # over its last corner
        [40, 40, 40, 40],  # no extent
        [90, 90, 50, 40],  # turned round: no extent either
        [24, 8, 56, 40],  # halves of a feature
        [-400, 0, -300, 50],  # outside
        [0, 0, 208, 144],  # the whole map
    ]
)


@functools.partial(jax.jit, static_argnames="size")
def warp(features, boxes, size):
    return roi_warping(features, boxes, size, spatial_scale=1 / STRIDE)


def literal(features, boxes, size):
    return reference(features, boxes, size, STRIDE)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, CHANNELS)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_values_are_those_of_the_loop(features, size):
    np.testing.assert_allclose(warp(features, BOXES, size), literal(features, BOXES, size), atol=1e-5)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(*[st.integers(-100, 300)] * 4), min_size=5, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_values_are_those_of_the_loop_for_any_boxes(boxes, seed):
    features = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 2)).astype(np.float32)
    np.testing.assert_allclose(warp(features, np.float32(boxes), 5), literal(features, boxes, 5), atol=1e-5)


def test_the_gradient_of_the_features_is_that_of_the_loop(features):
    """The values are linear in the features: their gradient is found one feature at a time."""
    cotangent = np.random.default_rng(1).normal(size=(len(BOXES), 4, 4, CHANNELS))
    gradient = jax.vjp(lambda values: warp(values, BOXES, 4), jnp.asarray(features))[1](jnp.float32(cotangent))[0]
    expected = np.zeros(features.shape)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            unit = np.zeros((HEIGHT, WIDTH, 1))
            unit[row, column] = 1
            expected[row, column] = np.sum(literal(unit, BOXES, 4) * cotangent, axis=(0, 1, 2))
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


def test_the_gradient_of_boxes_is_that_of_corners_that_are_not_rounded(features):
    """By finite differences of the interpolated map, which is smooth within its cells."""
    size, step = 5, 1e-3
    corners = np.float64([[1, 1, 7, 6], [2, 3, 10, 7], [0, 2, 12, 8]])  # whole features: rounding leaves them
    weight = np.random.default_rng(2).normal(size=(len(corners), size, size, CHANNELS))

    def unrounded(corners):
        """The values where each box is, and the derivative is taken on the side on which cells grow."""
        total = 0.0
        for (x1, y1, x2, y2), of_box in zip(corners, weight, strict=True):
            for row in range(size):
                for column in range(size):
                    y, x = y1 + row * (y2 - y1) / size, x1 + column * (x2 - x1) / size
                    top, left = math.floor(y), math.floor(x)
                    down, across = y - top, x - left
                    cells = features[top : top + 2, left : left + 2].astype(np.float64)
                    value = np.einsum("y,x,yxc->c", [1 - down, down], [1 - across, across], cells)
                    total += value @ of_box[row, column]
        return total

    expected = np.zeros_like(corners)
    for place in np.ndindex(corners.shape):
        moved = corners.copy()
        moved[place] += step
        expected[place] = (unrounded(moved) - unrounded(corners)) / step / STRIDE
    slope = jax.jit(jax.grad(lambda boxes: jnp.sum(warp(features, boxes, size) * weight)))
    gradient = slope(jnp.float32(corners * STRIDE))
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=2e-4)
    # A box off the features is rounded to the same, and has the gradient of where it is rounded to.
    np.testing.assert_array_equal(slope(jnp.float32(corners * STRIDE + 3)), gradient)


def test_boxes_outside_of_the_map_and_boxes_that_are_not_finite_have_nothing(features):
    boxes = jnp.float32([[jnp.nan, 1, 5, 5], [-jnp.inf, 1, jnp.inf, 5], [3, 1, jnp.nan, 5], [-400, 0, -300, 50]])
    values, back = jax.vjp(lambda *inputs: warp(*inputs, 3), jnp.asarray(features), boxes)
    np.testing.assert_array_equal(values, 0)
    for gradient in back(jnp.ones_like(values)):
        np.testing.assert_array_equal(gradient, 0)


@settings(max_examples=20)
@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_shift_of_the_image_by_strides_shifts_what_boxes_have(shift_y, shift_x):
    """Of a map with a border of zeros, so that nothing is lost at its ends."""
    inner = np.random.default_rng(3).normal(size=(8, 8, 2)).astype(np.float32)
    padded = np.pad(inner, ((6, 6), (6, 6), (0, 0)))
    boxes = np.float32([[100, 110, 190, 200], [120.5, 101.25, 230, 180]])
    shift = STRIDE * np.float32([shift_x, shift_y, shift_x, shift_y])
    moved = np.roll(padded, (shift_y, shift_x), axis=(0, 1))
    np.testing.assert_allclose(warp(moved, boxes + shift, 6), warp(padded, boxes, 6), atol=1e-5)


def test_its_maxima_are_those_of_the_finer_grid(features):
    """And their gradients reach the sample that is the greatest."""
    fine = literal(features, BOXES, 8).reshape(len(BOXES), 4, 2, 4, 2, CHANNELS)
    pool = jax.jit(functools.partial(max_warping, output_size=4, spatial_scale=1 / STRIDE))
    np.testing.assert_allclose(pool(features, BOXES), fine.max(axis=(2, 4)), atol=1e-5)

    def of_grid(features, boxes):
        return warp(features, boxes, 8).reshape(-1, 4, 2, 4, 2, CHANNELS).max(axis=(2, 4))

    boxes = jnp.asarray(BOXES[:3])  # of no extent, all samples are the greatest
    cotangent = jnp.float32(np.random.default_rng(4).normal(size=(3, 4, 4, CHANNELS)))
    back = jax.jit(lambda *inputs: jax.vjp(pool, *inputs)[1](cotangent))(jnp.asarray(features), boxes)
    expected = jax.vjp(of_grid, jnp.asarray(features), boxes)[1](cotangent)
    np.testing.assert_allclose(back[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(back[1], expected[1], atol=1e-4)


def test_a_plane_is_sampled_exactly():
    """Bilinear samples of a linear function are its values at the first corner of each bin."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    plane = (2 * rows - 3 * columns)[..., None]
    values = warp(plane, np.float32([[32, 16, 160, 128]]), 4)[0, ..., 0]
    expected = 2 * (1 + 7 / 4 * np.arange(4))[:, None] - 3 * (2 + 8 / 4 * np.arange(4))
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_several_images_and_half_precision(features):
    stacked = jnp.stack([features, features[::-1]])
    boxes = jnp.stack([jnp.asarray(BOXES), jnp.asarray(BOXES[::-1])])
    pool = functools.partial(roi_warping, output_size=4, spatial_scale=1 / STRIDE)
    both = jax.jit(jax.vmap(pool))(stacked, boxes)
    for image in range(2):
        np.testing.assert_allclose(both[image], literal(stacked[image], boxes[image], 4), atol=1e-5)
    half = pool(stacked[0].astype(jnp.bfloat16), boxes[0])
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), both[0], atol=0.05)
