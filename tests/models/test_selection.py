import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.config import EvaluationConfig, RoIConfig, RPNConfig
from amodal_jax.models.selection import select_detections
from amodal_jax.network import build_network
from amodal_jax.structures import Proposals
from tests.helpers.micro import micro_config


@pytest.mark.parametrize("slots", [40, 400])
def test_detections_are_those_of_torchvision(slots):
    """From a configuration on; slots of proposals that are not valid hold good ones elsewhere and change nothing."""
    golden = np.load(Path(__file__).resolve().parents[1] / "golden" / "models" / "detections.npz")
    config = micro_config(
        class_names=("a", "b", "c", "d"),
        roi=RoIConfig(box_weights=(8.0, 9.0, 4.0, 6.0)),
        rpn=RPNConfig(nms_threshold=0.8),
    )
    evaluation = EvaluationConfig(score_threshold=0.07, nms_threshold=0.4, max_detections=slots)
    detector = build_network(dataclasses.replace(config, evaluation=evaluation))
    logits, deltas, boxes = (
        jnp.concatenate([golden[name], golden[name][:, :5] + more], axis=1)
        for name, more in (("logits", 0), ("deltas", 0), ("proposals", 25))
    )
    valid = jnp.broadcast_to(jnp.arange(65) < 60, (2, 65))
    found = jax.jit(detector.boxes.choose)(
        logits.reshape(130, 5),
        deltas.reshape(130, 5, 4),
        Proposals(boxes, jnp.zeros((2, 65)), valid),
        jnp.asarray(golden["image_sizes"]),
    )
    slots = min(slots, 4 * 65)  # no more than there can be
    assert found.valid.shape == (2, slots)
    for image in range(2):
        expected, scores, labels = (golden[f"{name}_{image}"] for name in ("boxes", "scores", "labels"))
        count = len(expected)
        if count < 40:
            np.testing.assert_array_equal(found.valid[image], np.arange(slots) < count)
        assert found.valid[image, :count].all()
        np.testing.assert_allclose(found.boxes[image, :count], expected, atol=1e-3)
        np.testing.assert_allclose(found.scores[image, :count], scores, atol=1e-6)
        np.testing.assert_array_equal(found.labels[image, :count] + 1, labels)  # torchvision counts from the background


@pytest.mark.parametrize(("side", "found"), [(0.002, False), (0.009, False), (0.011, True)])
def test_thin_boxes_are_dropped_as_torchvision_drops_them(side, found):
    """Its limit is a hundredth of a pixel, ten times that of proposals."""
    proposals = Proposals(
        boxes=jnp.array([[10.0, 10.0, 10.0 + side, 30.0]]), scores=jnp.zeros(1), valid=jnp.ones(1, bool)
    )
    selected = select_detections(
        jnp.array([[0.0, 5.0]]),
        jnp.zeros((1, 2, 4)),
        proposals,
        jnp.float32(50),
        jnp.float32(50),
        box_weights=(10.0, 10.0, 5.0, 5.0),
        settings=EvaluationConfig(
            score_threshold=0.05, nms_threshold=0.5, max_detections=3, max_detections_per_class=100
        ),
    )
    assert selected.valid.tolist() == [found]


def in_rows(scores: np.ndarray) -> Proposals:
    """As many proposals as rows of scores, none of which overlaps another."""
    left = jnp.arange(len(scores)) * 10.0
    boxes = jnp.stack([left, jnp.zeros(len(scores)), left + 8, jnp.full(len(scores), 8.0)], axis=1)
    return Proposals(boxes=boxes, scores=jnp.zeros(len(scores)), valid=jnp.ones(len(scores), bool))


select = jax.jit(select_detections, static_argnames=("box_weights", "settings"))


# Limits that cut, together or either alone, and that do not; for each of them XLA compiles.
@given(st.integers(0, 2**31 - 1), st.sampled_from([(1, 40), (2, 3), (3, 8), (5, 1), (12, 14), (12, 40)]))
def test_the_best_of_each_class_and_of_those_the_best(seed, limits):
    """By sorting, of 20 proposals and three classes; nothing overlaps, so that NMS takes none away."""
    per_class, room = limits
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (20, 4)).astype(np.float32)
    selected = select(
        jnp.asarray(logits),
        jnp.zeros((20, 4, 4)),
        in_rows(logits),
        jnp.float32(500),
        jnp.float32(500),
        box_weights=(10.0, 10.0, 5.0, 5.0),
        settings=EvaluationConfig(
            score_threshold=0.1, nms_threshold=0.5, max_detections=room, max_detections_per_class=per_class
        ),
    )
    scores = np.asarray(jax.nn.softmax(logits))[:, 1:]
    expected: list[tuple[float, int, int]] = []
    for label in range(3):
        found = [(float(scores[row, label]), label, row) for row in range(20) if scores[row, label] > 0.1]
        expected += sorted(found, reverse=True)[:per_class]
    expected = sorted(expected, reverse=True)[:room]
    count = len(expected)
    assert selected.valid.tolist() == [True] * count + [False] * (len(selected.valid) - count)
    np.testing.assert_allclose(selected.scores[:count], [score for score, _, _ in expected], atol=1e-6)
    assert selected.labels[:count].tolist() == [label for _, label, _ in expected]
    assert (selected.boxes[:count, 0] / 10).round().astype(int).tolist() == [row for _, _, row in expected]


def test_nothing_that_coco_counts_is_cut_off_of_kins_classes():
    """An image full of one class leaves the other ones their room, by the default settings."""
    settings = EvaluationConfig()
    assert settings.max_detections_per_class == Params().maxDets[-1] == 100
    assert settings.max_detections >= len(KINS_CLASS_NAMES) * settings.max_detections_per_class
    classes = np.repeat([3, 1, 6], [150, 101, 30])  # by the number of proposals that are sure of them
    logits = np.full((len(classes), len(KINS_CLASS_NAMES) + 1), -20.0, np.float32)
    logits[np.arange(len(classes)), classes] = np.linspace(9, 2, len(classes))
    logits[:, 0] = 0
    selected = select_detections(
        jnp.asarray(logits),
        jnp.zeros((*logits.shape, 4)),
        in_rows(logits),
        jnp.float32(5000),
        jnp.float32(5000),
        box_weights=(10.0, 10.0, 5.0, 5.0),
        settings=settings,
    )
    labels = selected.labels[selected.valid]
    assert np.bincount(labels, minlength=7).tolist() == [100, 0, 100, 0, 0, 30, 0]
