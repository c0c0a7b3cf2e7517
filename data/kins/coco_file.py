"""Annotations as a plain COCO file, which other frameworks read: amodal or inmodal masks, one kind a file."""

from collections.abc import Sequence
from typing import Any, Literal

from amodal_jax import segmentation
from data.kins.annotations import KEYS, AnnotationFile
from data.kins.categories import SUPERCATEGORIES
from data.kins.instances import read_instance
from data.kins.problems import Problem

MASKS: Sequence[Literal["amodal", "inmodal"]] = ("amodal", "inmodal")


def coco_content(file: AnnotationFile, masks: Literal["amodal", "inmodal"]) -> tuple[dict[str, Any], list[Problem]]:
    """The content of a COCO file with one kind of masks, and what was wrong with the annotations.

    Ids of images, annotations and categories stay. Masks are run-length codes, which stand for the same pixels
    everywhere; `bbox` (xywh) and `area` are those of the mask. Instances of which nothing is visible are in the amodal
    file only: COCO has no instance without a pixel.

    Args:
        file: of any form that can be read.
        masks: which of the two.
    """
    annotations, problems = [], list(file.problems)
    for image in file.images:
        for annotation in image.annotations:
            instance, flaws = read_instance(annotation, KEYS[file.release], image.height, image.width)
            problems += [(flaw, annotation["id"]) for flaw in flaws]
            if instance is None:
                continue
            mask = instance.amodal if masks == "amodal" else instance.inmodal
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
    images = [
        {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}
        for image in file.images
    ]
    categories = [
        {"id": identifier, "name": name, "supercategory": SUPERCATEGORIES.get(name, name)}
        for identifier, name in file.categories.items()
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, problems
