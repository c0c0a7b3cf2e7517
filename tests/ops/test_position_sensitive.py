import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from amodal_jax.ops.position_sensitive import position_sensitive_mean, position_sensitive_pool
from tests.helpers.position_sensitive_reference import position_sensitive_pool as reference_pool

STRIDE, CELLS, GROUPS, FEATURES = 16, 21, 7, 3


def random_maps(height, width, features=FEATURES, seed=0):
    shape = (height, width, features, GROUPS, GROUPS)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_boxes(count, height, width, seed=1):
    """Continuous boxes within the image, from slivers to the whole; and one each thin, without area and beyond it."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (count, 2, 2)) * [width * STRIDE, height * STRIDE]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    odd = [[30.2, 17.0, 30.9, 90.0], [40, 40, 40, 40], [-20.0, -5, width * STRIDE + 9.4, 70], [900, 900, 950, 940]]
    return np.concatenate([boxes, odd]).astype(np.float32)


def with_pixel_inside(boxes):
    """The same boxes as FCIS writes them, with the last pixel inside in place of the edge."""
    return boxes - np.array([0, 0, 1, 1], np.float32)


@pytest.mark.parametrize(("cells", "size"), [(21, (9, 13)), (7, (5, 4)), (14, (26, 84))])
def test_it_is_the_loop_of_fcis(cells, size):
    """Also compared once with the loop of chainercv 0.13.1 on the CPU, `ps_roi_average_pooling_2d`, on the first two.

    Given rounded boxes it agreed within 2e-7, but for cells with an edge on the border of two features, at most 4 % of
    them: there its floats are rounded to either.
    """
    maps, boxes = random_maps(*size), random_boxes(8, *size)
    pooled = position_sensitive_pool(jnp.asarray(maps), jnp.asarray(boxes), cells, stride=STRIDE)
    expected = reference_pool(maps.transpose(2, 3, 4, 0, 1), with_pixel_inside(boxes), cells, STRIDE)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_more_rois_than_are_pooled_at_once():
    maps, boxes = random_maps(4, 6, features=1), random_boxes(70, 4, 6)
    pooled = position_sensitive_pool(jnp.asarray(maps), jnp.asarray(boxes), 7, stride=STRIDE)
    expected = reference_pool(maps.transpose(2, 3, 4, 0, 1), with_pixel_inside(boxes), 7, STRIDE)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_the_mean_is_that_of_the_cells():
    maps, boxes = jnp.asarray(random_maps(9, 13)), jnp.asarray(random_boxes(8, 9, 13))
    pooled = position_sensitive_pool(maps, boxes, CELLS, stride=STRIDE)
    mean = position_sensitive_mean(maps, boxes, CELLS, stride=STRIDE)
    np.testing.assert_allclose(mean, pooled.mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize("pool", [position_sensitive_pool, position_sensitive_mean])
def test_gradients_are_those_of_finite_differences(pool):
    maps, boxes = jnp.asarray(random_maps(3, 4, features=1)), jnp.asarray(random_boxes(2, 3, 4))

    def curved(maps):
        return jnp.sin(pool(jnp.asarray(maps), boxes, CELLS, stride=STRIDE))

    check_grads(curved, (maps,), order=1, modes=("rev",), atol=1e-2, rtol=1e-2)


def test_no_gradient_flows_to_the_boxes():
    maps, boxes = jnp.asarray(random_maps(3, 4)), jnp.asarray(random_boxes(2, 3, 4))
    gradient = jax.grad(lambda boxes: position_sensitive_pool(maps, boxes, 7, stride=STRIDE).sum())(boxes)
    assert not gradient.any()


def test_nothing_is_scattered():
    maps, boxes = jnp.asarray(random_maps(3, 4)), jnp.asarray(random_boxes(2, 3, 4))
    gradient = jax.jit(jax.grad(lambda maps, boxes: position_sensitive_pool(maps, boxes, 7, stride=STRIDE).sum()))
    assert "scatter" not in gradient.lower(maps, boxes).as_text()


@pytest.mark.parametrize(("down", "right"), [(1, 0), (2, 3)])
def test_a_shift_by_the_stride_shifts_what_is_pooled(down, right):
    maps, boxes = random_maps(12, 14), random_boxes(6, 8, 9)[:6]
    shifted = np.roll(maps, (down, right), axis=(0, 1))
    moved = boxes + np.array([right, down, right, down], np.float32) * STRIDE
    pool = jax.jit(lambda maps, boxes: position_sensitive_pool(maps, boxes, CELLS, stride=STRIDE))
    np.testing.assert_allclose(pool(shifted, moved), pool(maps, boxes), atol=1e-5)
