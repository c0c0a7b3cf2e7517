"""Which anchors and regions a training step looks at, and what each should become.

Shape shorthand in this module: A anchors of all levels, N proposals, G ground-truth slots, S samples. Functions take
one image; the detector maps them over the batch. All boxes are in pixels of the network's input.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amodal_jax.ops.matching import match
from amodal_jax.ops.sampling import sample_balanced
from amodal_jax.structures import Array as Leaf
from amodal_jax.structures import Proposals


@struct.dataclass
class AnchorSamples:
    """Anchors that the RPN's losses see."""

    indices: Leaf  # int32 [..., S], into the anchors of all levels
    truth_index: Leaf  # int32 [..., S]
    positive: Leaf  # bool [..., S]
    valid: Leaf  # bool [..., S]


@struct.dataclass
class RoISamples:
    """Regions that the heads see: the positive ones in the first slots."""

    boxes: Leaf  # float32 [..., S, 4]
    truth_index: Leaf  # int32 [..., S]
    positive: Leaf  # bool [..., S]
    valid: Leaf  # bool [..., S]


def sample_anchors(
    key: PRNGKeyArray,
    anchors: Float[Array, "A 4"],
    truth_boxes: Float[Array, "G 4"],
    truth_valid: Bool[Array, " G"],
    truth_crowd: Bool[Array, " G"],
    *,
    foreground_iou: float,
    background_iou: float,
    batch_size: int,
    positive_fraction: float,
) -> AnchorSamples:
    """Matches anchors with amodal boxes, low-quality matches included, and samples (torchvision's RPN)."""
    matches = match(
        anchors,
        truth_boxes,
        truth_valid,
        truth_crowd,
        foreground_iou=foreground_iou,
        background_iou=background_iou,
        allow_low_quality=True,
    )
    samples = sample_balanced(
        key, matches.positive, matches.negative, size=batch_size, positive_fraction=positive_fraction
    )
    return AnchorSamples(samples.indices, matches.truth_index[samples.indices], samples.positive, samples.valid)


def sample_rois(
    key: PRNGKeyArray,
    proposals: Proposals,
    truth_boxes: Float[Array, "G 4"],
    truth_valid: Bool[Array, " G"],
    truth_crowd: Bool[Array, " G"],
    *,
    iou_threshold: float,
    batch_size: int,
    positive_fraction: float,
) -> RoISamples:
    """Samples one image's proposals, the ground-truth boxes among them (torchvision's RoI heads; paper section 4.1)."""
    boxes = jax.lax.stop_gradient(jnp.concatenate([proposals.boxes, truth_boxes]))
    valid = jnp.concatenate([proposals.valid, truth_valid])
    matches = match(
        boxes,
        truth_boxes,
        truth_valid,
        truth_crowd,
        foreground_iou=iou_threshold,
        background_iou=iou_threshold,
        allow_low_quality=False,
    )
    samples = sample_balanced(
        key,
        matches.positive & valid,
        matches.negative & valid,
        size=batch_size,
        positive_fraction=positive_fraction,
    )
    return RoISamples(boxes[samples.indices], matches.truth_index[samples.indices], samples.positive, samples.valid)
