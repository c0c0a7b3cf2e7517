"""The weights that tests/golden/detectors/detectron2.npz is made with, drawn by a seed on both sides."""

from collections.abc import Mapping

import numpy as np

from tests.helpers.seeded_weights import seeded_weight

CLASSES = 7  # without the background
PROPOSALS = 300
SAMPLING_RATIO = 2  # of the results with a fixed number of samples
MASKS = 8  # of the detections that are kept

SCALES = {"backbone.bottom_up.stem.conv1": 1 / 57}
"""Of the first convolution's weights, as it sees pixels from -124 to 152."""
OUTPUTS = {
    "proposal_generator.rpn_head.objectness_logits": 2.0,
    "proposal_generator.rpn_head.anchor_deltas": 0.3,
    "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 1.0,
    "roi_heads.mask_head.predictor": 3.0,
}
"""The deviation that the outputs of these layers are scaled to, about a mean of 0, so that scores spread."""


def state(
    shapes: Mapping[str, tuple[int, ...]], scales: Mapping[str, float], biases: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The state dict of arrays of these shapes, weights scaled and biases given for some layers."""
    drawn = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if kind == "bias" and layer in biases:
            drawn[name] = biases[layer]
        else:
            drawn[name] = seeded_weight(name, shape) * np.float32(scales.get(layer, 1.0) if kind == "weight" else 1.0)
    return drawn
