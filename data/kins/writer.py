"""Writes annotations as KINS 2020 json, the form in which every other source enters the one dataset builder."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amodal_jax import segmentation
from amodal_jax.atomic_file import write_atomically
from amodal_jax.errors import DataError
from amodal_jax.segmentation import Rle
from data.kins.categories import CATEGORY_IDS, SUPERCATEGORIES


@dataclass(frozen=True)
class KinsAnnotation:
    """One instance."""

    id: int  # unique in its file; above 0 for programs that read COCO's form
    image_id: int
    class_name: str
    amodal: Rle | list[list[float]]  # the whole object: a run-length code or polygons
    inmodal: Rle | list[list[float]]  # its visible part
    cluster_id: int  # of overlapping instances, unique in its image
    occlusion_order: int  # 0 overlaps nothing, 1 is nearest in its cluster
    is_crowd: bool = False  # written where it is one; no file of KINS 2020 has any


def write_annotations(
    path: str | os.PathLike[str],
    images: Sequence[dict],
    annotations: Sequence[KinsAnnotation],
    class_names: Sequence[str] | Mapping[str, int],
    *,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Writes a KINS 2020 annotation file, whole or not at all.

    KINS' own classes keep KINS' category ids; any other list of classes is numbered from 1, unless it comes with ids.
    Areas and boxes are those of the masks.

    Args:
        path: of the json file; its folder is made if need be.
        images: dicts of `id`, `file_name`, `width` and `height`.
        annotations: of these images.
        class_names: every class, those without an instance too; as a mapping, each with its category id.
        info: what the file says of itself under `info`, as COCO's do.

    Raises:
        DataError: an annotation of an image or class that is not listed, an id of several, or a mask that cannot be
            drawn.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    if len(sizes) != len(images) or len(set(class_names)) != len(class_names):
        raise DataError(f"{path}: image ids and class names must be unique")
    category_ids = _category_ids(class_names)
    for identifier, count in Counter(annotation.id for annotation in annotations).items():
        if count > 1:
            raise DataError(f"{path}: {count} annotations have the id {identifier}")
    records = []
    for annotation in annotations:
        if annotation.image_id not in sizes or annotation.class_name not in category_ids:
            raise DataError(
                f"{path}: annotation {annotation.id} is of image {annotation.image_id} and class "
                f"{annotation.class_name!r}, of which one is not listed"
            )
        record: dict[str, Any] = {
            "id": annotation.id,
            "image_id": annotation.image_id,
            "category_id": category_ids[annotation.class_name],
            "oco_id": annotation.cluster_id,
            "ico_id": annotation.occlusion_order,
            **({"iscrowd": 1} if annotation.is_crowd else {}),
        }
        for prefix, mask in (("a", annotation.amodal), ("i", annotation.inmodal)):
            rle, flaws = segmentation.parse(mask, *sizes[annotation.image_id])
            if rle is None:
                raise DataError(f"{path}: annotation {annotation.id} has no {prefix}_segm: {', '.join(flaws)}")
            x1, y1, x2, y2 = segmentation.bounding_box(rle)
            # Of the forms of a run-length code, the one that every program reads.
            record[f"{prefix}_segm"] = mask if isinstance(mask, list) else rle
            record[f"{prefix}_bbox"] = [x1, y1, x2 - x1, y2 - y1]
            record[f"{prefix}_area"] = segmentation.area(rle)
        records.append(record)
    categories = [
        {"id": category_id, "name": name, "supercategory": SUPERCATEGORIES.get(name, name)}
        for name, category_id in category_ids.items()
    ]
    content: dict[str, Any] = {} if info is None else {"info": dict(info)}
    content |= {"images": list(images), "annotations": records, "categories": categories}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content))


def _category_ids(class_names: Sequence[str] | Mapping[str, int]) -> Mapping[str, int]:
    if isinstance(class_names, Mapping):
        return class_names
    if set(class_names) <= set(CATEGORY_IDS):
        return {name: CATEGORY_IDS[name] for name in class_names}
    return {name: index for index, name in enumerate(class_names, start=1)}
