import jax.numpy as jnp
import pytest

from amodal_jax.models.detections import select_detections
from amodal_jax.structures import Proposals


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
        score_threshold=0.05,
        nms_threshold=0.5,
        max_detections=3,
    )
    assert selected.valid.tolist() == [found, False, False]
