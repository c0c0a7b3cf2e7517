"""One instance of an annotation file: its masks, boxes and order, as the builder and every tool read them.

H x W is the image. Boxes are [x1, y1, x2, y2] in pixels.
"""

from dataclasses import dataclass
from typing import Any

from amodal_jax import segmentation
from amodal_jax.json_values import is_number, truth_value, whole_number
from amodal_jax.segmentation import Rle
from data.kins import problems as kinds
from data.kins.annotations import Keys
from data.kins.visible_part import visible_part

Box = tuple[float, float, float, float]

# Pixels by which a side of a stored box may differ from its mask's: polygons' corners are fractions, masks' are not.
BOX_TOLERANCE = 2.0
# Share of an inmodal mask that may lie outside its amodal mask; two drawings of one outline never agree to the pixel.
OUTSIDE_TOLERANCE = 0.05


@dataclass(frozen=True)
class Instance:
    """One object of an image."""

    id: int
    category_id: int
    amodal: Rle
    inmodal: Rle
    amodal_box: Box  # the stored one where it agrees with the mask
    inmodal_box: Box  # zeros where nothing is visible
    visible_area: int  # pixels of the amodal mask that the inmodal one has too
    cluster_id: int | None  # None where the file has none
    occlusion_order: int | None
    is_crowd: bool

    @property
    def occlusion_ratio(self) -> float:
        """Hidden area / amodal area."""
        return 1.0 - self.visible_area / segmentation.area(self.amodal)


def read_instance(annotation: dict, keys: Keys, height: int, width: int) -> tuple[Instance | None, list[str]]:
    """Reads an annotation, and what is wrong with it, as kinds of problem; None where it has no amodal mask.

    Args:
        annotation: with whole numbers under `id` and `category_id`.
        keys: of the file's release.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    amodal, inmodal, problems = _masks(annotation, keys, height, width)
    if amodal is None or inmodal is None:
        return None, problems
    amodal_box, flaws = _box(annotation.get(keys.amodal_box), amodal, height, width)
    problems += [f"amodal {flaw}" for flaw in flaws]
    inmodal_box = (0.0, 0.0, 0.0, 0.0)
    if segmentation.area(inmodal):
        inmodal_box, flaws = segmentation.bounding_box(inmodal), []
        if keys.inmodal_box:
            inmodal_box, flaws = _box(annotation.get(keys.inmodal_box), inmodal, height, width)
        problems += [f"inmodal {flaw}" for flaw in flaws]

    visible = segmentation.intersection_area(amodal, inmodal)
    if segmentation.area(inmodal) - visible > OUTSIDE_TOLERANCE * segmentation.area(inmodal):
        problems.append(kinds.INMODAL_OUTSIDE)
    cluster, order = (whole_number(annotation.get(key)) if key else None for key in (keys.cluster, keys.order))
    if keys.order and (cluster is None or order is None):
        problems.append(kinds.ORDER_MISSING)
        cluster = order = None
    is_crowd = truth_value(annotation.get("iscrowd", False))
    if is_crowd is None:
        problems.append(kinds.CROWD_UNREADABLE)
    instance = Instance(
        id=annotation["id"],
        category_id=annotation["category_id"],
        amodal=amodal,
        inmodal=inmodal,
        amodal_box=amodal_box,
        inmodal_box=inmodal_box,
        visible_area=visible,
        cluster_id=cluster,
        occlusion_order=order,
        is_crowd=bool(is_crowd),
    )
    return instance, problems


def _masks(annotation: dict, keys: Keys, height: int, width: int) -> tuple[Rle | None, Rle | None, list[str]]:
    if annotation.get(keys.amodal_mask) is None:
        return None, None, [kinds.AMODAL_MISSING]
    amodal_rle, flaws = segmentation.parse(annotation[keys.amodal_mask], height, width)
    problems = [f"amodal mask: {flaw}" for flaw in flaws]
    if amodal_rle is None or not segmentation.area(amodal_rle):
        return None, None, [*problems, kinds.AMODAL_EMPTY]

    def stored(key: str | None) -> Any:
        return annotation.get(key) if key else None

    inmodal, found = visible_part(
        amodal_rle,
        stored(keys.inmodal_mask),
        hidden=stored(keys.hidden_mask),
        occlusion_rate=stored(keys.occlusion_rate),
        visible_area=stored(keys.inmodal_area),
        amodal_area=stored(keys.amodal_area),
    )
    return amodal_rle, inmodal, problems + found


def _box(stored: Any, rle: Rle, height: int, width: int) -> tuple[Box, list[str]]:
    """The stored xywh box as xyxy clipped to the image, or the mask's box and the reason why."""
    of_mask = segmentation.bounding_box(rle)
    if not (isinstance(stored, list) and len(stored) == 4 and all(is_number(value) for value in stored)):
        return of_mask, [kinds.BOX_UNREADABLE]
    x, y, box_width, box_height = (float(value) for value in stored)
    if box_width < 1 or box_height < 1:
        return of_mask, [kinds.BOX_UNDER_PIXEL]
    box = (x, y, x + box_width, y + box_height)
    if max(abs(a - b) for a, b in zip(box, of_mask, strict=True)) > BOX_TOLERANCE:
        return of_mask, [kinds.BOX_DISAGREES]
    return (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))), []
