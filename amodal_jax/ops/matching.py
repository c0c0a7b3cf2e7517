"""Assignment of ground truth to anchors or proposals.

Shape shorthand: N boxes, G ground-truth slots.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from amodal_jax.ops import boxes as box_ops

# The share of a box within a crowd from which on it is no background; COCOeval ignores detections from it on.
CROWD_SHARE = 0.5


@flax.struct.dataclass
class Matches:
    """What each box was matched with. A box neither positive nor negative takes no part in the losses."""

    truth_index: Int[Array, "*b N"]
    """The valid ground truth of highest IoU; 0 where there is none."""
    positive: Bool[Array, "*b N"]
    negative: Bool[Array, "*b N"]


def match(
    boxes: Float[Array, "N 4"],
    truth: Float[Array, "G 4"],
    truth_valid: Bool[Array, "G"],
    truth_crowd: Bool[Array, "G"],
    *,
    foreground_iou: float,
    background_iou: float,
    allow_low_quality: bool,
) -> Matches:
    """Matches every box with the ground truth that it overlaps most, with the semantics of torchvision's `Matcher`.

    A box is positive from `foreground_iou` on and negative below `background_iou`. With `allow_low_quality` the boxes
    of highest IoU with each ground truth, ties included, are positive too, matched with the ground truth that *they*
    overlap most. Ground truth that no box overlaps makes nothing positive (torchvision would make every box of IoU 0
    so). Without valid ground truth all boxes are negative. A box of which a half or more lies in a crowd is never
    negative.
    """
    # Pinned: computed a second time where it is compared with its maximum, it could round differently and equal none.
    iou = jax.lax.optimization_barrier(jnp.where(truth_valid[None, :], box_ops.pairwise_iou(boxes, truth), -1))
    best_iou = jnp.max(iou, axis=1, initial=-1)
    positive = best_iou >= foreground_iou
    if allow_low_quality:
        best_of_truth = jnp.max(iou, axis=0, initial=-1)
        positive |= jnp.any((iou == best_of_truth) & (best_of_truth > 0), axis=1)
    in_crowd = jnp.any((box_ops.pairwise_covered(boxes, truth) >= CROWD_SHARE) & truth_crowd[None, :], axis=1)
    negative = (best_iou < background_iou) & ~positive & ~in_crowd
    truth_index = jnp.argmax(iou, axis=1) if truth.shape[0] else jnp.zeros(boxes.shape[0], int)
    return Matches(truth_index.astype(jnp.int32), positive, negative)
