"""From an image and its annotations to the fields of a record; imports no TensorFlow, so that processes can share it.

H x W is the image. Boxes are [x1, y1, x2, y2] in pixels until they are normalised for TFDS.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amodal_jax.masks import segmentation
from amodal_jax.masks.crops import crop_mask, pack_crop
from amodal_jax.masks.segmentation import Rle
from data.kins import problems as kinds
from data.kins.annotations import KEYS, ImageRecord
from data.kins.instances import Box, Instance, read_instance
from data.kins.problems import Problem
from data.shared.image_files import checked_size


@dataclass(frozen=True)
class RecordMaker:
    """Makes the records of one annotation file."""

    release: str
    labels: dict[int, int]  # category id -> label
    image_folder: Path

    def __call__(self, image: ImageRecord) -> tuple[dict[str, Any], list[Problem]]:
        """The fields of an image's record, but for the image itself, and what was wrong with its annotations.

        Raises:
            ImageError: the image is missing or damaged.
        """
        problems: list[Problem] = []
        height, width = checked_size(self.image_folder / image.file_name)
        if (height, width) != (image.height, image.width):
            problems.append((kinds.IMAGE_SIZE, image.id))
        objects = []
        for annotation in image.annotations:
            instance, flaws = read_instance(annotation, KEYS[self.release], height, width)
            problems += [(flaw, annotation["id"]) for flaw in flaws]
            if instance is not None:
                objects.append(_fields(instance, self.labels[instance.category_id], height, width))
        record = {
            "image/id": image.id,
            "image/filename": image.file_name,
            "image/height": height,
            "image/width": width,
            "objects": objects,
        }
        return record, problems


def _fields(instance: Instance, label: int, height: int, width: int) -> dict[str, Any]:
    return {
        "id": instance.id,
        "label": label,
        "amodal_bbox": _normalised_yxyx(instance.amodal_box, height, width),
        "inmodal_bbox": _normalised_yxyx(instance.inmodal_box, height, width),
        "amodal_rle": instance.amodal["counts"],
        "inmodal_rle": instance.inmodal["counts"],
        "amodal_crop": _packed_crop(instance.amodal, instance.amodal_box),
        "inmodal_crop": _packed_crop(instance.inmodal, instance.amodal_box),
        "occlusion_ratio": instance.occlusion_ratio,
        "cluster_id": -1 if instance.cluster_id is None else instance.cluster_id,
        "occlusion_order": -1 if instance.occlusion_order is None else instance.occlusion_order,
        "is_crowd": instance.is_crowd,
    }


def _packed_crop(rle: Rle, frame: Box) -> np.ndarray:
    """`crop_mask` of the columns under the frame, which are all that it needs."""
    first, last = math.floor(frame[0]), math.ceil(frame[2])
    columns = segmentation.decode_columns(rle, first, last)
    return pack_crop(crop_mask(columns, np.array(frame) - [first, 0, first, 0]))


def _normalised_yxyx(box: Box, height: int, width: int) -> np.ndarray:
    x1, y1, x2, y2 = box
    return np.array([y1 / height, x1 / width, y2 / height, x2 / width])
