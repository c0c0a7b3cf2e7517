"""The regions that a step of MNC draws among proposals: few, and most of the background close to objects.

Shape shorthand in this module: B images, N proposals, S sampled regions.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from amodal_jax.models.roi_pooling import RoIConfig
from amodal_jax.ops.matching import Matches, match
from amodal_jax.ops.sampling import sample_graded
from amodal_jax.structures import GroundTruth, Proposals, RoISamples

NEAR_IOU = 0.1
"""IoU with an object from which on background is near to it (MNC, `mnc_config.py`)."""
NEAR_FRACTION = 0.85
"""The share of near background in all of it."""


def draw_regions(
    roi: RoIConfig, proposals: Proposals, truth: GroundTruth, image_valid: Bool[Array, " B"], keys: Key[Array, " B"]
) -> RoISamples:
    """The regions [B, S] of a step: proposals and ground-truth boxes, with the object that each overlaps most.

    Args:
      roi: how many there are, how many at most are positive, and from which IoU on.
      proposals: in pixels of the network's input, as the truth. No gradient flows back.
      truth: the objects and crowds of the images.
      image_valid: which images count.
      keys: of the draw, one an image.
    """

    def of_image(key, boxes, boxes_valid, truth_boxes, truth_valid, truth_crowd):
        boxes = jax.lax.stop_gradient(jnp.concatenate([boxes, truth_boxes]))
        valid = jnp.concatenate([boxes_valid, truth_valid])

        def matches(background_iou: float) -> Matches:
            return match(
                boxes,
                truth_boxes,
                truth_valid,
                truth_crowd,
                foreground_iou=roi.iou_threshold,
                background_iou=background_iou,
                allow_low_quality=False,
            )

        found, far = matches(roi.iou_threshold), matches(NEAR_IOU).negative
        samples = sample_graded(
            key,
            found.positive & valid,
            found.negative & ~far & valid,
            far & valid,
            size=roi.batch_size,
            positive_fraction=roi.positive_fraction,
            near_fraction=NEAR_FRACTION,
        )
        index = found.truth_index[samples.indices]
        return RoISamples(boxes[samples.indices], index, samples.positive, samples.valid)

    samples = jax.vmap(of_image)(keys, proposals.boxes, proposals.valid, truth.boxes, truth.valid, truth.crowd)
    return dataclasses.replace(samples, valid=samples.valid & image_valid[:, None])
