import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    boxes_of = build_network(dataclasses.replace(config, evaluation=evaluation)).boxes
    logits, deltas, boxes = (
        jnp.concatenate([golden[name], golden[name][:, :5] + more], axis=1)
        for name, more in (("logits", 0), ("deltas", 0), ("proposals", 25))
    )
    valid = jnp.broadcast_to(jnp.arange(65) < 60, (2, 65))
    found = jax.jit(boxes_of.choose)(
        logits.reshape(130, 5),
        deltas.reshape(130, 5, 4),
        Proposals(boxes, jnp.zeros((2, 65)), valid),
        jnp.asarray(golden["image_sizes"]),
    )
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
        settings=EvaluationConfig(score_threshold=0.05, nms_threshold=0.5, max_detections=3),
    )
    assert selected.valid.tolist() == [found, False, False]
