"""KITTI's instance maps of an annotation file: one 16-bit PNG an image (`amodal_jax.masks.instance_map`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt16

from amodal_jax.errors import DataError
from amodal_jax.files.atomic import write_atomically
from amodal_jax.masks import segmentation
from amodal_jax.masks.instance_map import KITTI_CLASS_IDS, LARGEST_ID, draw_instance_map, encode_instance_map
from data.kins.annotations import KEYS, AnnotationFile, ImageRecord
from data.kins.instances import Instance, read_instance
from data.kins.problems import Problem
from data.orders.orders_of_masks import orders_of_masks


@dataclass(frozen=True)
class MapMaker:
    """Draws and writes the map of one image."""

    folder: Path
    release: str
    class_ids: Mapping[int, int]  # category id -> class id in the map

    def __call__(self, image: ImageRecord) -> list[Problem]:
        """Writes `NAME.png` for the image `NAME.*`, and gives what was wrong with its annotations.

        Raises:
            DataError: more than 255 instances of a class id.
        """
        instances, problems = [], []
        for annotation in image.annotations:
            instance, flaws = read_instance(annotation, KEYS[self.release], image.height, image.width)
            problems += [(flaw, annotation["id"]) for flaw in flaws]
            if instance is not None and not instance.is_crowd:
                instances.append(instance)
        drawn = instance_map(instances, self.class_ids, image.height, image.width, f"image {image.id}")
        place = self.folder / _map_path(image.file_name)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, encode_instance_map(drawn))
        return problems


def named_apart(file: AnnotationFile) -> list[ImageRecord]:
    """The images of a file by their names alone, where no two have one name, and by their whole paths otherwise.

    Raises:
        DataError: two images would have the same map all the same; names both.
    """
    images = [replace(image, file_name=PurePosixPath(image.file_name).name) for image in file.images]
    if len({_map_path(image.file_name) for image in images}) == len(images):
        return images
    of_map: dict[str, ImageRecord] = {}
    for image in file.images:
        other = of_map.setdefault(_map_path(image.file_name), image)
        if other is not image:
            raise DataError(
                f"{file.path}: the images {other.id} ({other.file_name}) and {image.id} ({image.file_name}) would have "
                f"the same map, {_map_path(image.file_name)}"
            )
    return list(file.images)


def _map_path(file_name: str) -> str:
    return PurePosixPath(file_name).with_suffix(".png").as_posix()


def class_ids(file: AnnotationFile, *, own: bool) -> dict[int, int]:
    """The class id in the maps of each category.

    Args:
        file: whose categories.
        own: take the file's own category ids instead of KITTI's label ids.

    Raises:
        DataError: a class that KITTI has no id for, or an id of its own that does not fit a byte.
    """
    if own:
        for identifier, name in file.categories.items():
            if not 1 <= identifier <= LARGEST_ID:
                raise DataError(f"{file.path}: the id {identifier} of {name!r} does not fit a map, which has 1..255")
        return {identifier: identifier for identifier in file.categories}
    for name in file.categories.values():
        if name not in KITTI_CLASS_IDS:
            raise DataError(
                f"{file.path}: KITTI has no label id for {name!r}; --class-ids own takes the file's own ids"
            )
    return {identifier: KITTI_CLASS_IDS[name] for identifier, name in file.categories.items()}


def instance_map(
    instances: Sequence[Instance], class_ids: Mapping[int, int], height: int, width: int, where: str
) -> UInt16[np.ndarray, "height width"]:
    """256 * class id + index of the instance that is seen in each pixel; 0 where there is none.

    What is drawn are the inmodal masks. Where outlines overlap all the same the nearer one wins, by the file's orders
    or, without them, those of the masks; instances of different clusters in the sequence of the file.

    Args:
        instances: of one image.
        class_ids: category id -> class id.
        height: of the image, in pixels.
        width: of the image, in pixels.
        where: the name of the image, for messages.

    Raises:
        DataError: more than 255 instances of a class id.
    """
    orders = [instance.occlusion_order for instance in instances]
    if None in orders:
        orders = list(orders_of_masks([one.amodal for one in instances], [one.inmodal for one in instances]).orders)
    return draw_instance_map(
        [segmentation.decode(instance.inmodal) for instance in instances],
        [class_ids[instance.category_id] for instance in instances],
        sorted(range(len(instances)), key=lambda index: -(orders[index] or 0)),
        (height, width),
        where,
    )
