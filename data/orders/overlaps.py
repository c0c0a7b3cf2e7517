"""Which masks or boxes of an image overlap, and by how much."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_mask

from amodal_jax.masks.segmentation import Rle


def shared_areas(masks: Sequence[Rle], others: Sequence[Rle] | None = None) -> Int[np.ndarray, "N M"]:
    """The number of pixels that every mask shares with every other.

    Args:
        masks: N run-length codes of one size.
        others: M of the same size; None: the masks themselves.
    """
    first, second = list(masks), list(masks if others is None else others)
    if not first or not second:
        return np.zeros((len(first), len(second)), np.int64)
    # Against a crowd pycocotools divides by the area of the first mask alone.
    shares = np.asarray(coco_mask.iou(first, second, [1] * len(second)))
    return np.rint(shares * coco_mask.area(first).astype(np.float64)[:, None]).astype(np.int64)


def box_ious(boxes: Float[np.ndarray, "N 4"], others: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    """The IoU of every box with every other; boxes are [x1, y1, x2, y2]."""
    first, second = boxes[:, None], others[None]
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (first, second)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def overlapping(masks: Sequence[Rle]) -> Bool[np.ndarray, "N N"]:
    """Which masks have a pixel in common with which others; none has with itself.

    Args:
        masks: N run-length codes of one size.
    """
    overlaps = shared_areas(masks) > 0
    np.fill_diagonal(overlaps, False)
    return overlaps
