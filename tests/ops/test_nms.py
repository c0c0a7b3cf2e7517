import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops import nms

COUNT = 25
jitted = functools.partial(jax.jit, static_argnums=3)(nms.nms)


def greedy(boxes, scores, valid, threshold):
    """The textbook loop."""
    iou = np.asarray(box_ops.pairwise_iou(boxes, boxes))
    keep = np.zeros(len(scores), bool)
    for candidate in np.argsort(-scores, kind="stable"):
        keep[candidate] = valid[candidate] and not (iou[candidate][keep] > threshold).any()
    return keep


@pytest.mark.parametrize("index", range(4))
def test_torchvision(golden, index):
    kept = nms.nms(
        jnp.asarray(golden["boxes"]),
        jnp.asarray(golden["scores"]),
        jnp.ones(len(golden["boxes"]), bool),
        float(golden["thresholds"][index]),
    )
    np.testing.assert_array_equal(kept, golden[f"keep_{index}"])


@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.2, 0.5, 0.8]), st.sampled_from([10, 30, 100]))
def test_equals_the_greedy_loop(seed, threshold, extent):
    """Few distinct scores and coordinates, so that ties and long chains of suppression are common."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, extent, (COUNT, 2))
    boxes = jnp.asarray(np.concatenate([corner, corner + rng.integers(0, 20, (COUNT, 2))], axis=1), jnp.float32)
    scores = rng.integers(0, 8, COUNT).astype(np.float32)
    valid = rng.uniform(size=COUNT) < 0.8
    kept = jitted(boxes, jnp.asarray(scores), jnp.asarray(valid), threshold)
    np.testing.assert_array_equal(kept, greedy(boxes, scores, valid, threshold))


def test_longest_chain():
    """Each box suppresses the next: every second one is kept, whatever the number of iterations it takes."""
    start = jnp.arange(300.0)
    boxes = jnp.stack([start, jnp.zeros(300), start + 2.5, jnp.ones(300)], axis=1)
    kept = nms.nms(boxes, -start, jnp.ones(300, bool), 0.4)
    np.testing.assert_array_equal(kept, np.arange(300) % 2 == 0)


def test_none_valid_and_none_at_all():
    boxes = jnp.asarray([[0.0, 0, 5, 5]])
    assert not nms.nms(boxes, jnp.ones(1), jnp.zeros(1, bool), 0.5).any()
    assert nms.nms(jnp.zeros((0, 4)), jnp.zeros(0), jnp.zeros(0, bool), 0.5).shape == (0,)


def test_vmap_over_classes(golden):
    boxes, scores = jnp.asarray(golden["boxes"])[:100], jnp.asarray(golden["scores"])[:100]
    valid = jnp.arange(100)[None, :] % 3 == jnp.arange(3)[:, None]
    together = jax.vmap(lambda v: nms.nms(boxes, scores, v, 0.5))(valid)
    for group in range(3):
        np.testing.assert_array_equal(together[group], nms.nms(boxes, scores, valid[group], 0.5))


def test_no_gradient_enters():
    def loss(boxes):
        kept = nms.nms(boxes, jnp.ones(2), jnp.ones(2, bool), 0.5)
        return jnp.sum(jnp.where(kept[:, None], boxes, 0))

    gradient = jax.grad(loss)(jnp.asarray([[0.0, 0, 5, 5], [0, 0, 5, 6]]))
    np.testing.assert_array_equal(gradient, [[1] * 4, [0] * 4])


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
def test_both_forms_agree(count):
    """The one of CPUs and the one of GPUs, of which only the first runs within the tests."""
    rng = np.random.default_rng(count)
    before = np.tri(count, k=-1, dtype=bool)
    suppressed_by = jnp.asarray(before & (rng.random((count, count)) < 0.2))
    valid = jnp.asarray(rng.random(count) < 0.9)
    bytes_, words = nms._keep_by_bytes(suppressed_by, valid), nms._keep_by_words(suppressed_by, valid)
    np.testing.assert_array_equal(words, bytes_)
    assert count < 31 or bytes_.any()
