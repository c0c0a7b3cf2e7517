"""What networks of one level share: which regions are labelled how, and detections by a vote."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax.config import EvaluationConfig
from amodal_jax.models.one_level.candidates import Candidates
from amodal_jax.models.one_level.regions import label_regions
from amodal_jax.structures import NetworkInput
from tests.helpers.micro import SLOTS, micro_batch


def test_all_regions_are_labelled_by_what_they_overlap():
    """Regions on objects, beside them, not valid, in a crowd and of no image; behind them the objects themselves."""
    truth = micro_batch(3).truth
    crowd = jnp.zeros((3, SLOTS), bool).at[1, SLOTS - 1].set(True)
    boxes = truth.boxes.at[1, SLOTS - 1].set(jnp.array([0.0, 0, 96, 64]))
    truth = dataclasses.replace(truth, boxes=boxes, crowd=crowd)
    regions = jnp.stack([truth.boxes[:, 0] + 1, jnp.full((3, 4), jnp.array([0.0, 60, 5, 64])), truth.boxes[:, 1]], 1)
    valid = jnp.array([[True, True, False]] * 3)
    image_valid = jnp.array([True, True, False])
    found = jax.jit(lambda *values: label_regions(*values, iou_threshold=0.5))(regions, valid, truth, image_valid)
    np.testing.assert_array_equal(found.boxes, jnp.concatenate([regions, truth.boxes], axis=1))
    for image in (0, 1):
        objects = np.asarray(truth.valid[image])
        np.testing.assert_array_equal(found.positive[image], [True, False, False, *objects])
        # In the second image all is crowd: no background there.
        np.testing.assert_array_equal(found.valid[image], [True, image == 0, False, *objects])
        assert found.truth_index[image, 0] == 0
        np.testing.assert_array_equal(found.truth_index[image, 3:][objects], np.flatnonzero(objects))
    assert not found.valid[2].any()


def candidates():
    """Of one image and two classes: two that overlap, one apart, a thin one, and one that is not valid."""
    boxes = np.array([[10, 10, 31, 31], [10, 10, 31, 37], [50, 10, 71, 31], [80, 10, 81.5, 40], [50, 40, 71, 61]])
    scores = np.array([[0.9, 0.05], [0.8, 0.1], [0.2, 0.6], [0.9, 0.9], [0.9, 0.9]])
    return Candidates(
        boxes=jnp.asarray(boxes[None], jnp.float32),
        scores=jnp.asarray(scores[None], jnp.float32),
        masks={kind: jnp.ones((1, 5, 21, 21)) * share for kind, share in (("amodal", 0.9), ("inmodal", 0.3))},
        valid=jnp.array([[True, True, True, True, False]]),
    )


def test_detections_are_kept_by_class_and_voted_by_all():
    evaluation = EvaluationConfig(score_threshold=0.3, nms_threshold=0.3, max_detections=5, mask_threshold=0.4)
    sizes = jnp.array([[64, 96]])
    inputs = NetworkInput(pixels=None, sizes=sizes, source_sizes=sizes * 2, truth=None)
    found = jax.jit(lambda one, inputs: one.detections(inputs, evaluation))(candidates(), inputs)
    np.testing.assert_array_equal(found.valid[0], [True, True, False, False, False])
    np.testing.assert_allclose(found.scores[0, :2], [0.9, 0.6])
    np.testing.assert_array_equal(found.labels[0, :2], [0, 1])
    # What the suppressed one sees below the best one's box is 0.8 / 1.7 of the vote: it counts. In the image, which is
    # twice as large as the input; up to a cell of the window.
    expected = np.array([[10, 10, 31, 37], [50, 10, 71, 31]]) * 2
    np.testing.assert_allclose(found.boxes[0, :2], expected, atol=2 * 21 / 28)
    assert found.amodal_masks.shape == (1, 5, 21, 21)
    np.testing.assert_allclose(found.amodal_masks[0, 1], 1, atol=1e-6)
    assert not found.inmodal_masks.any()
    assert found.occluded is None


def test_rounds_are_joined_behind_each_other():
    one = candidates()
    both = Candidates.joined([one, dataclasses.replace(one, boxes=one.boxes + 1)])
    assert both.scores.shape == (1, 10, 2)
    np.testing.assert_array_equal(both.boxes[0, 5:], one.boxes[0] + 1)
    assert both.masks["inmodal"].shape == (1, 10, 21, 21)
