"""Which objects of an image hide which, and what is seen of those within regions.

Shape shorthand: G ground-truth slots, N RoIs. Crops are those of `amodal_jax.ops.masks`: masks in the frame of their
object's amodal box.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from amodal_jax.ops.boxes import pairwise_iou
from amodal_jax.ops.masks import SLACK, coverage, unpack_crops
from amodal_jax.records import CROP_SIZE

_OVERLAP = 0.05  # IoU of the box of one object and the box of what is seen of another


def overlapping(
    inmodal_crops: UInt8[Array, "G 112 14"], boxes: Float[Array, "G 4"], valid: Bool[Array, " G"]
) -> Bool[Array, "G G"]:
    """For each object (row) the others (columns) that stand in or beside its box, near or far.

    They are those whose visible part has a box of an IoU of more than 0.05 with its amodal box, which BCNet and
    AISFormer take for its occluders: UARK-AICV/AISFormer, `detectron2/data/datasets/process_data_amodal.py`.

    Args:
      inmodal_crops: visible parts.
      boxes: amodal boxes, xyxy.
      valid: which slots hold an object; the others are never among the overlapping ones.
    """
    visible = unpack_crops(inmodal_crops)
    edges = []
    for axis in (-2, -1):  # rows for x, columns for y
        line = visible.any(axis=axis)
        edges.append((jnp.argmax(line, axis=1), CROP_SIZE - jnp.argmax(line[:, ::-1], axis=1)))
    (x1, x2), (y1, y2) = edges
    side = jnp.tile(boxes[:, 2:] - boxes[:, :2], 2) / CROP_SIZE
    seen = jnp.tile(boxes[:, :2], 2) + side * jnp.stack([x1, y1, x2, y2], axis=1)
    other = ~jnp.eye(len(boxes), dtype=bool)
    return (pairwise_iou(boxes, seen) > _OVERLAP) & other & (visible.any(axis=(1, 2)) & valid)


def hiding(
    amodal_crops: UInt8[Array, "G 112 14"],
    inmodal_crops: UInt8[Array, "G 112 14"],
    boxes: Float[Array, "G 4"],
    nearer: Bool[Array, "G G"],
    count: Int[Array, ""],
) -> Bool[Array, "G G"]:
    """For each object (row) those of the nearer ones (columns) that are seen where it is hidden.

    Objects are compared at the centres of the cells of the hidden one's crop.

    Args:
      amodal_crops: whole objects.
      inmodal_crops: their visible parts.
      boxes: amodal boxes, xyxy.
      nearer: the columns that may hide the row.
      count: slots from the first on that are looked at as columns.
    """
    hidden = unpack_crops(amodal_crops) & ~unpack_crops(inmodal_crops)
    centres = (jnp.arange(CROP_SIZE) + 0.5) / CROP_SIZE
    x, y = (boxes[:, None, i] + centres * (boxes[:, None, i + 2] - boxes[:, None, i]) for i in (0, 1))

    def cells(positions: Float[Array, "G 112"], low: Array, high: Array) -> tuple[Array, Array]:
        """The cells of another's crop that positions lie in, and whether they lie in any."""
        place = jnp.floor((positions - low) / jnp.maximum(high - low, 1e-6) * CROP_SIZE)
        return jnp.clip(place, 0, CROP_SIZE - 1).astype(jnp.int32), (place >= 0) & (place < CROP_SIZE)

    def column(index: Array, found: Bool[Array, "G G"]) -> Bool[Array, "G G"]:
        x1, y1, x2, y2 = boxes[index]
        (rows, in_rows), (columns, in_columns) = cells(y, y1, y2), cells(x, x1, x2)
        visible = unpack_crops(inmodal_crops[index])[rows[:, :, None], columns[:, None, :]]
        seen = visible & in_rows[:, :, None] & in_columns[:, None, :] & hidden
        return found.at[:, index].set(seen.any(axis=(1, 2)))

    return nearer & jax.lax.fori_loop(0, count, column, jnp.zeros_like(nearer))


def occluder_targets(
    inmodal_crops: UInt8[Array, "G 112 14"],
    truth_boxes: Float[Array, "G 4"],
    occluders: Bool[Array, "G G"],
    count: Int[Array, ""],
    boxes: Float[Array, "N 4"],
    truth_index: Int[Array, " N"],
    *,
    size: int = 28,
) -> Float32[Array, "N {size} {size}"]:
    """What is seen of each RoI's occluders: 1 where they cover at least half of a bin together, else 0.

    Nothing is seen of them outside of the box of the object that they hide. Visible parts do not overlap, so that the
    shares of a bin that each covers are added up.

    Args:
      inmodal_crops: visible parts in the frames of `truth_boxes`.
      truth_boxes: amodal boxes, xyxy, any unit as long as `boxes` have the same.
      occluders: for each object (row) those that hide it (columns).
      count: slots from the first on that are looked at as occluders.
      boxes: RoIs.
      truth_index: the object of each RoI.
      size: bins along each side of the target.
    """
    own = truth_boxes[truth_index]

    def along(axis: int, other: Float[Array, " 4"]) -> Float[Array, "N _ 112"]:
        low, high = (jnp.broadcast_to(other[i], own.shape[:1]) for i in (axis, axis + 2))
        within = (own[:, axis], own[:, axis + 2])
        return coverage(boxes[:, axis], boxes[:, axis + 2], low, high, size, within)

    def add(index: Array, covered: Float[Array, "N M M"]) -> Float[Array, "N M M"]:
        crop = unpack_crops(inmodal_crops[index]).astype(jnp.float32)
        across_x, across_y = (along(axis, truth_boxes[index]) for axis in (0, 1))
        share = jnp.einsum("npy,yx,nqx->npq", across_y, crop, across_x, precision=jax.lax.Precision.HIGHEST)
        return covered + share * occluders[truth_index, index][:, None, None]

    covered = jax.lax.fori_loop(0, count, add, jnp.zeros((len(boxes), size, size)))
    return (covered >= 0.5 - SLACK).astype(jnp.float32)


def boundary(masks: Float[Array, "N M M"]) -> Float[Array, "N M M"]:
    """The cells at the edge of a mask of zeros and ones, those within and those without.

    They are where the dilation and the erosion by the cross of 3 x 3 cells differ. What lies beyond the border of the
    frame counts as what lies at it, so that a mask that is cut off has no edge there. Source: lkeab/BCNet,
    `detectron2/layers/boundary.py`.
    """

    def extreme(choose: Callable[[Array, Array], Array]) -> Array:
        padded = jnp.pad(masks, ((0, 0), (1, 1), (1, 1)), mode="edge")
        result = masks
        for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
            height, width = masks.shape[1:]
            result = choose(result, padded[:, rows : rows + height, columns : columns + width])
        return result

    return extreme(jnp.maximum) - extreme(jnp.minimum)
