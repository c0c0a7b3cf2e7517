import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import AnchorConfig, EvaluationConfig, RPNConfig
from amodal_jax.network import build_network
from amodal_jax.structures import AnchorScores
from tests.helpers.micro import micro_config


@pytest.fixture(scope="module")
def golden():
    """The arrays of torchvision's `filter_proposals`, as tests/golden/regenerate/models.py writes them."""
    return np.load(Path(__file__).resolve().parents[1] / "golden" / "models" / "proposals.npz")


@pytest.mark.parametrize("phase", ["training", "testing"])
def test_proposals_are_those_of_torchvision(golden, phase):
    """From a configuration on, so that each of its numbers has to get to its place."""
    (pre_train, post_train), (pre_test, post_test) = golden["training_settings"], golden["testing_settings"]
    config = micro_config(
        anchors=AnchorConfig(sizes=(8.0, 16.0, 32.0, 64.0, 128.0)),
        rpn=RPNConfig(
            nms_threshold=0.6,
            pre_nms_train=int(pre_train),
            post_nms_train=int(post_train),
            pre_nms_test=int(pre_test),
            post_nms_test=int(post_test),
        ),
    )
    network = build_network(dataclasses.replace(config, evaluation=EvaluationConfig(nms_threshold=0.3)))
    anchors = network.rpn.place_anchors([tuple(size) for size in golden["feature_sizes"].tolist()], (48, 112))
    ends = np.cumsum([len(level) for level in anchors])[:-1]
    logits, deltas = (np.split(golden[name], ends, axis=1) for name in ("logits", "deltas"))
    propose = jax.jit(
        lambda logits, deltas, sizes: network.rpn.propose(
            AnchorScores(logits, deltas, anchors), sizes, train=phase == "training"
        )
    )
    found = propose(*jax.tree.map(jnp.asarray, (logits, deltas, golden["image_sizes"])))
    assert found.valid.shape == (2, post_train if phase == "training" else post_test)
    for image in range(2):
        boxes, scores = golden[f"{phase}_boxes_{image}"], golden[f"{phase}_scores_{image}"]
        np.testing.assert_array_equal(found.valid[image], np.arange(found.valid.shape[1]) < len(boxes))
        np.testing.assert_allclose(found.boxes[image, : len(boxes)], boxes, atol=1e-4)
        np.testing.assert_allclose(jax.nn.sigmoid(found.scores[image, : len(boxes)]), scores, atol=1e-6)


def test_the_golden_file_cuts_and_leaves_slots_empty(golden):
    assert len(golden["training_boxes_0"]) == golden["training_settings"][1]
    assert len(golden["testing_boxes_0"]) < golden["testing_settings"][1]
