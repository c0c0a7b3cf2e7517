import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops import matching

RPN = {"foreground_iou": 0.7, "background_iou": 0.3, "allow_low_quality": True}
HEADS = {"foreground_iou": 0.5, "background_iou": 0.5, "allow_low_quality": False}


def match(boxes, truth, valid, **settings):
    """Without crowds."""
    return matching.match(boxes, truth, valid, jnp.zeros(truth.shape[0], bool), **settings)


@pytest.mark.parametrize(("name", "settings"), [("rpn", RPN), ("heads", HEADS)])
@pytest.mark.parametrize("padding", [0, 3])
def test_torchvision(golden, name, settings, padding):
    """Padded slots, which hold copies of real boxes here, change nothing."""
    truth = np.concatenate([golden["truth"], golden["proposals"][:padding]])
    valid = np.arange(len(truth)) < len(golden["truth"])
    matches = match(jnp.asarray(golden["proposals"]), jnp.asarray(truth), jnp.asarray(valid), **settings)
    expected = golden[name]
    np.testing.assert_array_equal(matches.positive, expected >= 0)
    np.testing.assert_array_equal(matches.negative, expected == -1)
    np.testing.assert_array_equal(np.asarray(matches.truth_index)[expected >= 0], expected[expected >= 0])


def test_golden_has_low_quality_matches_and_ignored_boxes(golden):
    assert (golden["rpn"] == -2).any()
    iou = np.asarray(box_ops.pairwise_iou(jnp.asarray(golden["proposals"]), jnp.asarray(golden["truth"]))).max(axis=1)
    assert ((golden["rpn"] >= 0) & (iou < 0.7)).any()


def test_overlaps_are_computed_once():
    """An overlap is compared with the largest one for equality, so that both must be one value, under vmap too."""
    boxes, truth = jnp.zeros((2, 9, 4)), jnp.zeros((2, 3, 4))
    program = jax.jit(jax.vmap(lambda *image: match(*image, **RPN))).lower(boxes, truth, jnp.ones((2, 3), bool))
    assert "optimization_barrier" in program.as_text()


@pytest.mark.parametrize("settings", [RPN, HEADS])
@pytest.mark.parametrize("slots", [0, 2])
def test_without_valid_truth_all_are_negative(settings, slots):
    boxes = jnp.asarray([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    matches = match(boxes, jnp.zeros((slots, 4)), jnp.zeros(slots, bool), **settings)
    assert not matches.positive.any()
    assert matches.negative.all()
    np.testing.assert_array_equal(matches.truth_index, 0)


def test_truth_that_nothing_overlaps_makes_nothing_positive():
    boxes = jnp.asarray([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    truth = jnp.asarray([[50.0, 50, 60, 60]])
    matches = match(boxes, truth, jnp.ones(1, bool), **RPN)
    assert matches.negative.all()
    assert not matches.positive.any()


def test_low_quality_box_keeps_the_truth_that_it_overlaps_most():
    # The only box is the best of both ground truths, and overlaps the second more.
    boxes = jnp.asarray([[0.0, 0, 10, 10]])
    truth = jnp.asarray([[0.0, 0, 10, 2], [0, 5, 10, 10]])
    matches = match(boxes, truth, jnp.ones(2, bool), **RPN)
    assert matches.positive.tolist() == [True]
    assert matches.truth_index.tolist() == [1]


@pytest.mark.parametrize("settings", [RPN, HEADS])
def test_what_lies_in_a_crowd_is_no_background(settings):
    crowd, instance = [20.0, 0, 60, 40], [0.0, 0, 10, 10]
    boxes = [[30.0, 10, 40, 20], [15, 0, 25, 10], [14, 0, 24, 10], [0, 0, 80, 80], [0, 0, 10, 10], [22, 2, 32, 12]]
    for more, positive in (([0.0, 0, 1, 1], [4]), ([22.0, 2, 32, 12], [4, 5])):  # the second: an instance in the crowd
        truth = jnp.asarray([crowd, instance, more])
        is_crowd = jnp.asarray([True, False, False])
        matches = matching.match(jnp.asarray(boxes), truth, ~is_crowd, is_crowd, **settings)
        # The second box lies in it by just half, the third by less; the fourth holds it, and is mostly background.
        np.testing.assert_array_equal(np.flatnonzero(matches.negative), [2, 3])
        np.testing.assert_array_equal(np.flatnonzero(matches.positive), positive)
        np.testing.assert_array_equal(matches.truth_index[jnp.asarray(positive)], [1, 2][: len(positive)])


def test_vmap_over_images(golden):
    boxes, truth = jnp.asarray(golden["proposals"]), jnp.asarray(golden["truth"])
    valid = jnp.stack([jnp.ones(len(truth), bool), jnp.arange(len(truth)) < 2])
    together = jax.vmap(lambda v: match(boxes, truth, v, **RPN))(valid)
    for image in range(2):
        alone = match(boxes, truth, valid[image], **RPN)
        for both, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(both[image], one)
