"""Masks kept in the frame of their amodal box.

Shape shorthand: G ground-truth slots, N RoIs, M mask cells a side. A crop covers its object's amodal box with 112 x 112
cells, eight cells a byte along x, most significant bit first; see `amodal_jax.masks.crops` for how crops are made.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from amodal_jax.ops.boxes import area
from amodal_jax.records import CROP_SIZE

# Where a RoI is its truth box, a bin holds 16 whole cells, often exactly half of them set: rounding must not decide.
SLACK = 1e-3


def unpack_crops(packed: UInt8[Array, "*b 112 14"]) -> Bool[Array, "*b 112 112"]:
    """Unpacks bit-packed crops (the bit order of `numpy.packbits`)."""
    bits = packed[..., None] >> jnp.arange(7, -1, -1, dtype=jnp.uint8)
    return (bits & 1).astype(bool).reshape(*packed.shape[:-1], CROP_SIZE)


def mask_targets(
    packed_crops: UInt8[Array, "G 112 14"],
    truth_boxes: Float[Array, "G 4"],
    boxes: Float[Array, "N 4"],
    truth_index: Int[Array, "N"],
    *,
    size: int = 28,
    threshold: float = 0.5,
) -> Float32[Array, "N {size} {size}"]:
    """Cuts the mask of its ground truth in the frame of each RoI: 1 where enough of a bin is covered, else 0.

    Args:
      packed_crops: masks in the frames of `truth_boxes`.
      truth_boxes: amodal boxes, xyxy, any unit as long as `boxes` have the same. One without area has an empty mask.
      boxes: RoIs; what of them lies outside their truth box is empty.
      truth_index: the ground truth of each RoI.
      size: bins along each side of the target.
      threshold: the share of a bin from which on its target is 1.
    """
    covered, _ = _covered(packed_crops, truth_boxes, boxes, truth_index, size)
    return (covered >= threshold - SLACK).astype(jnp.float32)


def mask_iou(
    masks: Bool[Array, "N M M"],
    boxes: Float[Array, "N 4"],
    packed_crops: UInt8[Array, "G 112 14"],
    truth_boxes: Float[Array, "G 4"],
    truth_index: Int[Array, "N"],
) -> Float32[Array, "N"]:
    """The IoU of each RoI's mask with the whole mask of its ground truth, what of that lies outside the RoI included.

    Args:
      masks: in the frames of `boxes`, each cell one or zero all over.
      boxes: RoIs, xyxy. One without area has an IoU of 0.
      packed_crops: masks in the frames of `truth_boxes`.
      truth_boxes: amodal boxes in the unit of `boxes`.
      truth_index: the ground truth of each RoI.
    """
    covered, crops = _covered(packed_crops, truth_boxes, boxes, truth_index, masks.shape[-1])
    truth = truth_boxes[truth_index]

    cell = area(boxes) / masks.shape[-1] ** 2
    both = jnp.sum(covered * masks, axis=(1, 2)) * cell
    whole = jnp.sum(masks, axis=(1, 2)) * cell + jnp.mean(crops, axis=(1, 2)) * area(truth) - both
    return jnp.where(whole > 0, both / jnp.where(whole > 0, whole, 1), 0)


def _covered(packed_crops, truth_boxes, boxes, truth_index, size):
    """The share [N, size, size] of each RoI's bins that the mask of its ground truth covers, and that mask's crop."""
    crops = unpack_crops(packed_crops[truth_index]).astype(jnp.float32)
    truth = truth_boxes[truth_index]
    across_y = coverage(boxes[:, 1], boxes[:, 3], truth[:, 1], truth[:, 3], size)
    across_x = coverage(boxes[:, 0], boxes[:, 2], truth[:, 0], truth[:, 2], size)
    # In the TF32 that GPUs take by default, two roundings to 11 bits could outweigh the slack.
    return jnp.einsum("npy,nyx,nqx->npq", across_y, crops, across_x, precision=jax.lax.Precision.HIGHEST), crops


def coverage(
    low: Float[Array, " N"],
    high: Float[Array, " N"],
    truth_low: Float[Array, " N"],
    truth_high: Float[Array, " N"],
    size: int,
    within: tuple[Float[Array, " N"], Float[Array, " N"]] | None = None,
) -> Float[Array, "N {size} 112"]:
    """The share of each of `size` bins of [low, high] in each cell of [truth_low, truth_high], along one axis.

    What lies outside of the interval `within`, where there is one, counts as in no cell.
    """
    cell = (truth_high - truth_low) / CROP_SIZE
    has_extent = cell > 0
    cell = jnp.where(has_extent, cell, 1)
    bin_width = jnp.maximum((high - low) / size / cell, 1e-6)
    start = ((low - truth_low) / cell)[:, None] + jnp.arange(size) * bin_width[:, None]
    end = start + bin_width[:, None]
    if within is not None:
        first, last = (((edge - truth_low) / cell)[:, None] for edge in within)
        start, end = jnp.clip(start, first, last), jnp.clip(end, first, last)
    cells = jnp.arange(CROP_SIZE, dtype=jnp.float32)
    overlap = jnp.minimum(end[..., None], cells + 1) - jnp.maximum(start[..., None], cells)
    return jnp.where(has_extent[:, None, None], jnp.maximum(overlap, 0) / bin_width[:, None, None], 0)
