"""From an image and its annotations to the fields of a record; imports no TensorFlow, so that processes can share it.

H x W is the image. Boxes are [x1, y1, x2, y2] in pixels until they are normalised for TFDS.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from amodal_jax import segmentation
from amodal_jax.mask_crops import crop_mask, pack_crop
from amodal_jax.segmentation import Rle
from data.image_files import checked_size
from data.kins import problems as kinds
from data.kins.annotations import KEYS, ImageRecord, Keys, fits
from data.kins.problems import Problem

Box = tuple[float, float, float, float]

# Pixels by which a side of a stored box may differ from its mask's: polygons' corners are fractions, masks' are not.
BOX_TOLERANCE = 2.0
# Share of an inmodal mask that may lie outside its amodal mask; two drawings of one outline never agree to the pixel.
OUTSIDE_TOLERANCE = 0.05


@dataclass(frozen=True)
class RecordMaker:
    """Makes the records of one annotation file."""

    release: str
    labels: dict[int, int]  # category id -> label

    def __call__(self, image: ImageRecord) -> tuple[dict[str, Any], list[Problem]]:
        """The fields of an image's record, but for the image itself, and what was wrong with its annotations.

        Raises:
            ImageError: the image is missing or damaged.
        """
        problems: list[Problem] = []
        height, width = checked_size(image.path)
        if (height, width) != (image.height, image.width):
            problems.append((kinds.IMAGE_SIZE, image.id))
        objects = []
        for annotation in image.annotations:
            instance, flaws = _instance(annotation, KEYS[self.release], height, width)
            problems += [(flaw, annotation["id"]) for flaw in flaws]
            if instance is not None:
                objects.append({**instance, "label": self.labels[annotation["category_id"]]})
        record = {
            "image/id": image.id,
            "image/filename": image.path.name,
            "image/height": height,
            "image/width": width,
            "objects": objects,
        }
        return record, problems


def _instance(annotation: dict, keys: Keys, height: int, width: int) -> tuple[dict[str, Any] | None, list[str]]:
    amodal_rle, inmodal_rle, problems = _masks(annotation, keys, height, width)
    if amodal_rle is None or inmodal_rle is None:
        return None, problems
    amodal_box, flaws = _box(annotation.get(keys.amodal_box), amodal_rle, height, width)
    problems += [f"amodal {flaw}" for flaw in flaws]
    inmodal_box = (0.0, 0.0, 0.0, 0.0)
    if segmentation.area(inmodal_rle):
        inmodal_box, flaws = _box(annotation.get(keys.inmodal_box), inmodal_rle, height, width)
        problems += [f"inmodal {flaw}" for flaw in flaws]

    visible = coco_mask.area(coco_mask.merge([amodal_rle, inmodal_rle], intersect=True))
    if segmentation.area(inmodal_rle) - visible > OUTSIDE_TOLERANCE * segmentation.area(inmodal_rle):
        problems.append(kinds.INMODAL_OUTSIDE)
    cluster, order = (annotation.get(key) if key else None for key in (keys.cluster, keys.order))
    if keys.order and not all(isinstance(value, int) and fits(value) for value in (cluster, order)):
        problems.append(kinds.ORDER_MISSING)
        cluster = order = None
    instance = {
        "id": annotation["id"],
        "amodal_bbox": _normalised_yxyx(amodal_box, height, width),
        "inmodal_bbox": _normalised_yxyx(inmodal_box, height, width),
        "amodal_rle": amodal_rle["counts"],
        "inmodal_rle": inmodal_rle["counts"],
        "amodal_crop": _packed_crop(amodal_rle, amodal_box),
        "inmodal_crop": _packed_crop(inmodal_rle, amodal_box),
        "occlusion_ratio": 1.0 - float(visible) / segmentation.area(amodal_rle),
        "cluster_id": -1 if cluster is None else cluster,
        "occlusion_order": -1 if order is None else order,
        "is_crowd": bool(annotation.get("iscrowd", 0)),
    }
    return instance, problems


def _masks(annotation: dict, keys: Keys, height: int, width: int) -> tuple[Rle | None, Rle | None, list[str]]:
    if annotation.get(keys.amodal_mask) is None:
        return None, None, [kinds.AMODAL_MISSING]
    amodal_rle, flaws = segmentation.parse(annotation[keys.amodal_mask], height, width)
    problems = [f"amodal mask: {flaw}" for flaw in flaws]
    if amodal_rle is None or not segmentation.area(amodal_rle):
        return None, None, [*problems, kinds.AMODAL_EMPTY]

    # The annotators drew an inmodal mask only where an instance is occluded (paper section 3.1), so that none drawn
    # means that all of it is visible.
    if not annotation.get(keys.inmodal_mask):
        return amodal_rle, amodal_rle, [*problems, kinds.INMODAL_MISSING]
    inmodal_rle, flaws = segmentation.parse(annotation[keys.inmodal_mask], height, width)
    problems += [f"inmodal mask: {flaw}" for flaw in flaws]
    if inmodal_rle is None:
        return amodal_rle, amodal_rle, [*problems, kinds.INMODAL_UNREADABLE]
    if not segmentation.area(inmodal_rle):
        problems.append(kinds.INMODAL_EMPTY)
    return amodal_rle, inmodal_rle, problems


def _box(stored: Any, rle: Rle, height: int, width: int) -> tuple[Box, list[str]]:
    """The stored xywh box as xyxy clipped to the image, or the mask's box and the reason why."""
    of_mask = segmentation.bounding_box(rle)
    if not (
        isinstance(stored, list)
        and len(stored) == 4
        and all(isinstance(value, int | float) and math.isfinite(value) for value in stored)
    ):
        return of_mask, [kinds.BOX_UNREADABLE]
    x, y, box_width, box_height = (float(value) for value in stored)
    if box_width < 1 or box_height < 1:
        return of_mask, [kinds.BOX_UNDER_PIXEL]
    box = (x, y, x + box_width, y + box_height)
    if max(abs(a - b) for a, b in zip(box, of_mask, strict=True)) > BOX_TOLERANCE:
        return of_mask, [kinds.BOX_DISAGREES]
    return (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))), []


def _packed_crop(rle: Rle, frame: Box) -> np.ndarray:
    """`crop_mask` of the columns under the frame, which are all that it needs."""
    first, last = math.floor(frame[0]), math.ceil(frame[2])
    columns = segmentation.decode_columns(rle, first, last)
    return pack_crop(crop_mask(columns, np.array(frame) - [first, 0, first, 0]))


def _normalised_yxyx(box: Box, height: int, width: int) -> np.ndarray:
    x1, y1, x2, y2 = box
    return np.array([y1 / height, x1 / width, y2 / height, x2 / width])
