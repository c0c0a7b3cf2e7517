"""Which masks of an image overlap, and in how many pixels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_mask

from amodal_jax.segmentation import Rle


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


def overlapping(masks: Sequence[Rle]) -> Bool[np.ndarray, "N N"]:
    """Which masks have a pixel in common with which others; none has with itself.

    Args:
        masks: N run-length codes of one size.
    """
    overlaps = shared_areas(masks) > 0
    np.fill_diagonal(overlaps, False)
    return overlaps
