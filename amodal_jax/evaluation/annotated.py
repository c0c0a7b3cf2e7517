"""What is there, and what was found: the ground truth of a split and detections in COCO's results format."""

import dataclasses
from typing import Any

from amodal_jax.masks.segmentation import Rle

Result = dict[str, Any]
"""One detection in COCO's results format: `image_id`, `category_id`, `bbox` (xywh, pixels), `score`, and in lists of
masks `segmentation` (compressed run lengths); `occluded`, a probability, besides."""


@dataclasses.dataclass(frozen=True)
class AnnotatedInstance:
    """One instance of the ground truth."""

    image_id: int
    category_id: int
    box: tuple[float, float, float, float]  # amodal, xywh in pixels
    amodal_rle: Rle
    inmodal_rle: Rle  # no pixel set where the instance is hidden entirely
    occlusion_ratio: float  # invisible area / amodal area
    is_crowd: bool


@dataclasses.dataclass(frozen=True)
class AnnotatedImages:
    """The ground truth of a split."""

    image_sizes: dict[int, tuple[int, int]]  # (height, width) by image id, of every image, those without instance too
    categories: dict[int, str]  # names by category id, in the order of the labels
    instances: list[AnnotatedInstance]
    file_names: dict[int, str] = dataclasses.field(default_factory=dict)  # by image id, for results that go by names
