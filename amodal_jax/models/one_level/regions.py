"""What regions are of, where all of them are kept: each is an object's or background.

Shape shorthand in this module: B images, N regions, G ground-truth slots, S = N + G.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amodal_jax.ops.matching import match
from amodal_jax.structures import GroundTruth, RoISamples


def label_regions(
    boxes: Float[Array, "B N 4"],
    valid: Bool[Array, "B N"],
    truth: GroundTruth,
    image_valid: Bool[Array, " B"],
    *,
    iou_threshold: float,
) -> RoISamples:
    """All regions and behind them the ground-truth boxes, each with the object that it overlaps most.

    From `iou_threshold` on a region is positive, under it background (FCIS section 3.2, `proposal_annotator.py`). What
    lies in a crowd is neither, and not valid, as are all regions of images that are not.

    Args:
      boxes: in pixels of the network's input, as the truth's. No gradient flows back.
      valid: of `boxes`.
      truth: the objects and crowds of the images.
      image_valid: which images count.
      iou_threshold: of a region and an object.

    Returns:
      boxes [B, S, 4], and of each whether it is positive, and of which object.
    """

    def of_image(image_boxes, image_boxes_valid, truth_boxes, truth_valid, truth_crowd):
        regions = jax.lax.stop_gradient(jnp.concatenate([image_boxes, truth_boxes]))
        matches = match(
            regions,
            truth_boxes,
            truth_valid,
            truth_crowd,
            foreground_iou=iou_threshold,
            background_iou=iou_threshold,
            allow_low_quality=False,
        )
        counted = jnp.concatenate([image_boxes_valid, truth_valid]) & (matches.positive | matches.negative)
        return RoISamples(regions, matches.truth_index, matches.positive & counted, counted)

    samples = jax.vmap(of_image)(boxes, valid, truth.boxes, truth.valid, truth.crowd)
    return dataclasses.replace(samples, valid=samples.valid & image_valid[:, None])
