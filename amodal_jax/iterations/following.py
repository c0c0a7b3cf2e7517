"""The same object in the predictions of several checkpoints, and how large its masks are in each."""

import dataclasses

import numpy as np
from pycocotools import mask as coco_mask

from amodal_jax.structures import Instances

_SAME_OBJECT = 0.5  # IoU of two boxes of one object


@dataclasses.dataclass(frozen=True)
class Measured:
    """An object as one checkpoint predicts it."""

    score: float
    amodal_area: int  # pixels
    hidden_area: int | None  # pixels of the amodal mask that are not in the inmodal one; None without such a mask


def follow(objects: Instances, found: Instances) -> list[int | None]:
    """Where the objects of one checkpoint are among those that another one finds in the same image.

    Args:
      objects: those that are followed, n of them.
      found: those that are there.

    Returns:
      For each of the n the place of its like in `found`, None where there is none: of its class, with a box of IoU 0.5
      or more. The pairs of largest IoU come first, and none is in two pairs.
    """
    places: list[int | None] = [None] * len(objects)
    if not len(objects) or not len(found):
        return places
    boxes = [
        np.concatenate([one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]], axis=1).astype(np.float64)
        for one in (objects, found)
    ]
    overlaps = np.asarray(coco_mask.iou(*boxes, [0] * len(found)))
    overlaps[objects.labels[:, None] != found.labels[None]] = 0
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        one, other = divmod(int(flat), len(found))
        if overlaps[one, other] < _SAME_OBJECT:
            break
        if places[one] is None and other not in places:
            places[one] = other
    return places


def measure(found: Instances, place: int) -> Measured:
    """The areas of one object's masks; `found` has to have amodal ones."""
    assert found.amodal_masks is not None
    amodal = found.amodal_masks[place]
    hidden = None if found.inmodal_masks is None else int(np.count_nonzero(amodal & ~found.inmodal_masks[place]))
    return Measured(float(found.scores[place]), int(np.count_nonzero(amodal)), hidden)


def hidden_share(measured: list[Measured | None]) -> float:
    """The hidden area of all objects that are found, as a share of their amodal area; NaN where that is nothing."""
    there = [one for one in measured if one is not None and one.hidden_area is not None]
    whole = sum(one.amodal_area for one in there)
    return sum(one.hidden_area or 0 for one in there) / whole if whole else np.nan


def relative_area(measured: list[Measured | None], last: list[Measured | None]) -> float:
    """The mean over the objects that are found of their amodal area in relation to that of the last checkpoint."""
    ratios = [
        one.amodal_area / other.amodal_area
        for one, other in zip(measured, last, strict=True)
        if one is not None and other is not None and other.amodal_area
    ]
    return float(np.mean(ratios)) if ratios else np.nan
