import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amodal_jax.ops import boxes as box_ops

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@st.composite
def box_arrays(draw, count=6):
    corners = draw(hnp.arrays(np.float32, (count, 2), elements=st.floats(-50, 150, width=32)))
    sides = draw(hnp.arrays(np.float32, (count, 2), elements=st.floats(0.5, 100, width=32)))
    return jnp.asarray(np.concatenate([corners, corners + sides], axis=1))


def test_torchvision(golden):
    a, b = jnp.asarray(golden["a"]), jnp.asarray(golden["b"])
    np.testing.assert_allclose(box_ops.pairwise_iou(a, b), golden["iou"], atol=1e-6)
    np.testing.assert_array_equal(box_ops.clip(a, 80, 100), golden["clipped"])
    np.testing.assert_allclose(
        box_ops.encode(jnp.asarray(golden["other"]), a, WEIGHTS), golden["encoded"], rtol=1e-5, atol=1e-4
    )
    decoded = box_ops.decode(jnp.asarray(golden["deltas"]).reshape(40, 3, 4), a[:, None], WEIGHTS)
    assert (golden["deltas"].reshape(-1, 4)[:, 2:] / 5 > box_ops.MAX_LOG_GROWTH).any(), "the bound is not exercised"
    np.testing.assert_allclose(decoded, golden["decoded"], rtol=1e-5, atol=1e-3)


@given(box_arrays(), box_arrays(count=4))
def test_iou_symmetric_and_bounded(a, b):
    iou = np.asarray(box_ops.pairwise_iou(a, b))
    np.testing.assert_allclose(iou, box_ops.pairwise_iou(b, a).T, rtol=1e-6)
    assert ((iou >= 0) & (iou <= 1 + 1e-6)).all()
    np.testing.assert_allclose(np.diag(box_ops.pairwise_iou(a, a)), 1, rtol=1e-4)


def test_iou_of_empty_boxes():
    point = jnp.asarray([[3.0, 3, 3, 3]])
    assert box_ops.pairwise_iou(point, point) == 0
    assert box_ops.pairwise_iou(jnp.zeros((0, 4)), point).shape == (0, 1)


@given(box_arrays(), box_arrays())
def test_encode_decode_round_trip(reference, proposals):
    decoded = box_ops.decode(box_ops.encode(reference, proposals, WEIGHTS), proposals, WEIGHTS)
    # Growth beyond the bound does not come back, by design.
    growth = np.asarray((reference[:, 2:] - reference[:, :2]) / (proposals[:, 2:] - proposals[:, :2])).max(axis=1)
    bounded = np.log(growth) < box_ops.MAX_LOG_GROWTH
    np.testing.assert_allclose(decoded[bounded], reference[bounded], rtol=1e-3, atol=2e-2)


def test_padding_encodes_to_finite_numbers_and_gradients():
    truth = jnp.asarray([[0.0, 0, 0, 0], [10, 10, 20, 30]])
    proposals = jnp.asarray([[5.0, 5, 5, 5], [11, 9, 21, 33]])

    def loss(prediction):
        distance = (prediction - box_ops.encode(truth, proposals, WEIGHTS)) ** 2
        return jnp.sum(jnp.where(jnp.asarray([False, True])[:, None], distance, 0))

    assert np.isfinite(box_ops.encode(truth, proposals, WEIGHTS)).all()
    assert np.isfinite(jax.grad(loss)(jnp.zeros((2, 4)))).all()


def test_share_of_a_box_that_another_covers():
    boxes = jnp.asarray([[0.0, 0, 10, 10], [5, 5, 15, 25], [3, 3, 3, 9]])
    covering = jnp.asarray([[0.0, 0, 10, 10], [5, 0, 100, 100]])
    np.testing.assert_allclose(box_ops.pairwise_covered(boxes, covering), [[1, 0.5], [0.125, 1], [0, 0]])


@given(box_arrays())
def test_xywh_round_trip(boxes):
    xywh = box_ops.xyxy_to_xywh(boxes)
    np.testing.assert_allclose(xywh[:, 2] * xywh[:, 3], box_ops.area(boxes), rtol=1e-5)
    np.testing.assert_allclose(box_ops.xywh_to_xyxy(xywh), boxes, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_boxes(shape):
    none = jnp.zeros(shape)
    assert box_ops.decode(none, none, WEIGHTS).shape == shape
    assert box_ops.clip(none, 5, 5).shape == shape


def test_clip_to_traced_size():
    clipped = jax.jit(box_ops.clip)(jnp.asarray([[-3.0, -4, 50, 60]]), jnp.int32(20), jnp.int32(30))
    np.testing.assert_array_equal(clipped, [[0, 0, 30, 20]])
