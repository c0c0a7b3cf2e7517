"""Annotations as a plain COCO file, which other frameworks read: amodal or inmodal masks, one kind a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from amodal_jax import segmentation
from data.kins.annotations import KEYS, AnnotationFile, ImageRecord
from data.kins.categories import SUPERCATEGORIES
from data.kins.instances import read_instance
from data.kins.problems import Problem

MASKS: Sequence[Literal["amodal", "inmodal"]] = ("amodal", "inmodal")


@dataclass(frozen=True)
class CocoAnnotations:
    """Makes COCO's annotations of an image.

    Ids stay as they are: those of annotations have to be sound (`annotation_ids`). Masks are run-length codes, which
    stand for the same pixels everywhere; `bbox` (xywh) and `area` are those of the mask. Instances of which nothing is
    visible are in the amodal file only: COCO has no instance without a pixel.
    """

    release: str
    masks: Literal["amodal", "inmodal"]

    def __call__(self, image: ImageRecord) -> tuple[list[dict[str, Any]], list[Problem]]:
        """The annotations of an image, and what was wrong with those that they are made of."""
        annotations, problems = [], []
        for annotation in image.annotations:
            instance, flaws = read_instance(annotation, KEYS[self.release], image.height, image.width)
            problems += [(flaw, annotation["id"]) for flaw in flaws]
            if instance is None:
                continue
            mask = instance.amodal if self.masks == "amodal" else instance.inmodal
            area = segmentation.area(mask)
            if not area:
                continue
            x1, y1, x2, y2 = segmentation.bounding_box(mask)
            annotations.append(
                {
                    "id": instance.id,
                    "image_id": image.id,
                    "category_id": instance.category_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(instance.is_crowd),
                    "segmentation": mask,
                }
            )
        return annotations, problems


def coco_content(file: AnnotationFile, annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of a COCO file with the images and categories of an annotation file."""
    images = [image.to_json() for image in file.images]
    categories = [
        {"id": identifier, "name": name, "supercategory": SUPERCATEGORIES.get(name, name)}
        for identifier, name in file.categories.items()
    ]
    content: dict[str, Any] = {} if file.info is None else {"info": file.info}
    return content | {"images": images, "annotations": list(annotations), "categories": categories}
