"""Reads KINS annotation files of both releases into one form."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from data.image_files import checked_path, is_file, is_size
from data.image_lookup import find_paths
from data.json_file import integer, name, read_json_object
from data.kins.categories import CATEGORY_IDS, RIDER_ID, RIDER_NAME
from data.kins.layout import ANNOTATION_FILES, INSTRUCTIONS, SPLITS
from data.kins.problems import REPEATED_ID, UNKNOWN_CATEGORY, UNKNOWN_IMAGE, Problem

# One's own images may be called as KITTI's are, and have KINS' classes; but they are not as many as the 7 474 and 7 517
# of KINS' splits.
_KITTI_NAME = re.compile(r"\d{6}\.png")
_LEAST_IMAGES_OF_KINS = 7000


@dataclass(frozen=True)
class Keys:
    """The names that a release gives to the fields of an annotation; None where it has no such field."""

    amodal_box: str
    amodal_mask: str
    inmodal_box: str | None
    inmodal_mask: str
    cluster: str | None
    order: str | None
    amodal_area: str
    inmodal_area: str | None
    hidden_mask: str | None = None  # of the part that the inmodal mask lacks
    occlusion_rate: str | None = None  # hidden area / amodal area


KEYS = {
    "2020": Keys("a_bbox", "a_segm", "i_bbox", "i_segm", "oco_id", "ico_id", "a_area", "i_area"),
    "2019": Keys("bbox", "segmentation", "inmodal_bbox", "inmodal_seg", None, None, "area", None),
    # D2SA and COCOA-cls, which are no release of KINS.
    "d2sa": Keys(
        "bbox", "segmentation", None, "visible_mask", None, None, "area", None, "invisible_mask", "occlude_rate"
    ),
}


@dataclass(frozen=True)
class ImageRecord:
    """One image of an annotation file."""

    id: int
    file_name: str  # as `amodal_jax.image_paths.image_path` gives it; below the split's folder once it is `located`
    height: int  # as the annotation file says
    width: int
    annotations: tuple[dict, ...]  # as they stand in the file, but for whole numbers as their three ids

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file's list of images."""
        return {"id": self.id, "file_name": self.file_name, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class AnnotationFile:
    """One split's annotations."""

    path: Path
    sha256: str
    release: str  # a key of KEYS
    images: tuple[ImageRecord, ...]
    categories: dict[int, str]  # id -> name, in the order of ids
    problems: tuple[Problem, ...]
    info: dict[str, Any] | None  # what the file says of itself, such as that its masks are pseudo labels


def find_annotation_files(manual_dir: Path, release: str | None = None) -> dict[str, Path]:
    """The annotation file of each split, in the folder itself or in its `annotations`.

    Args:
        manual_dir: the folder that the dataset is built from.
        release: "2019" or "2020"; where it is None, 2020 is taken if there is any of its files.

    Raises:
        DataError: a file is missing; the message says how to get it.
    """
    for candidate in [release] if release else ANNOTATION_FILES:
        names = ANNOTATION_FILES[candidate]
        found = {
            split: path
            for split, name in names.items()
            for path in (manual_dir / "annotations" / name, manual_dir / name)
            if path.is_file()
        }
        if len(found) == len(SPLITS):
            return found
        if found:
            missing = next(name for split, name in names.items() if split not in found)
            there = next(iter(found.values()))
            advice = f"\n{INSTRUCTIONS}" if _may_be_of_kins(there) else " A dataset needs the files of both splits."
            raise DataError(f"{manual_dir / missing} is missing, beside {there}.{advice}")
    wanted = " and ".join(ANNOTATION_FILES[release or "2020"].values())
    raise DataError(f"{manual_dir} holds no annotations: {wanted} are missing.\n{INSTRUCTIONS}")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_annotation_file(path: Path) -> AnnotationFile:
    """Reads one annotation file; its images are not looked for.

    Raises:
        DataError: the file is missing or no json, has no annotation or image, or lacks a key without which it cannot be
            understood.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder: name an annotation file in it")
    content = read_json_object(path)
    images, annotations, listed = (
        _list_of_dicts(content, key, path) for key in ("images", "annotations", "categories")
    )
    if not images or not annotations:
        raise DataError(f"{path} holds {len(images)} images and {len(annotations)} annotations: the split is empty")
    release = _release(annotations, path)
    names = _categories(listed, path)

    sizes: dict[int, tuple[str, int, int]] = {}
    of_path: dict[str, int] = {}
    for index, image in enumerate(images):
        identifier, width, height = (integer(image, key, f"{path}: image {index}") for key in ("id", "width", "height"))
        if not isinstance(image.get("file_name"), str):
            raise DataError(f"{path}: image {identifier} has no text under 'file_name'")
        if not is_size(height, width):
            raise DataError(f"{path}: image {identifier} is {width} x {height} pixels, a size that no image has")
        if identifier in sizes:
            raise DataError(f"{path}: two images have the id {identifier}")
        file_name = checked_path(image["file_name"], f"{path}: image {identifier}")
        if file_name in of_path:
            raise DataError(
                f"{path}: two images have the same name, {of_path[file_name]} and {identifier} are both {file_name}: "
                "nothing says whose picture it is; leave one of them, or give each its own file"
            )
        of_path[file_name] = identifier
        sizes[identifier] = (file_name, height, width)

    problems: list[Problem] = []
    by_image: dict[int, list[dict]] = {identifier: [] for identifier in sizes}
    seen: Counter[int] = Counter()
    for index, annotation in enumerate(annotations):
        identifier, image_id, category_id = (
            integer(annotation, key, f"{path}: annotation {index}") for key in ("id", "image_id", "category_id")
        )
        seen[identifier] += 1
        if seen[identifier] == 2:
            problems.append((REPEATED_ID, identifier))
        if image_id not in by_image:
            problems.append((UNKNOWN_IMAGE, identifier))
        elif category_id not in names:
            problems.append((UNKNOWN_CATEGORY, identifier))
        else:
            by_image[image_id].append(
                {**annotation, "id": identifier, "image_id": image_id, "category_id": category_id}
            )
    records = tuple(
        ImageRecord(identifier, file_name, height, width, tuple(by_image[identifier]))
        for identifier, (file_name, height, width) in sizes.items()
    )
    info = content["info"] if isinstance(content.get("info"), dict) else None
    return AnnotationFile(path, file_sha256(path), release, records, names, tuple(problems), info)


def located(file: AnnotationFile, folder: Path) -> AnnotationFile:
    """An annotation file with the paths of its images below their folder; those that are not there stay as written.

    Raises:
        DataError: two images have one file; names both.
    """
    found = find_paths({image.id: image.file_name for image in file.images}, folder, str(file.path))
    images = (replace(image, file_name=found.get(image.id, image.file_name)) for image in file.images)
    return replace(file, images=tuple(images))


def check_images_exist(file: AnnotationFile, folder: Path) -> None:
    """Looks for the images of an annotation file that is `located` in their folder.

    Raises:
        DataError: one is missing; the message says what to do, which is to fetch KITTI only where the file is KINS'.
    """
    missing = [(image.id, folder / image.file_name) for image in file.images]
    missing = [(identifier, path) for identifier, path in missing if not is_file(path)]
    if missing:
        identifier, path = missing[0]
        is_kins = _is_like_kins(file) and len(file.images) >= _LEAST_IMAGES_OF_KINS
        advice = f".\n{INSTRUCTIONS}" if is_kins else "; put them there, or take them out of the file"
        raise DataError(
            f"{len(missing)} of the {len(file.images)} images of {file.path} are missing, the first of them {path} "
            f"(image id {identifier}){advice}"
        )


def _is_like_kins(file: AnnotationFile) -> bool:
    """Whether the classes are KINS' own, with its ids, and the images called as KITTI's are."""
    of_kins = {**CATEGORY_IDS, RIDER_NAME: RIDER_ID}
    return all(of_kins.get(name) == identifier for identifier, name in file.categories.items()) and all(
        _KITTI_NAME.fullmatch(PurePosixPath(image.file_name).name) for image in file.images
    )


def _may_be_of_kins(path: Path) -> bool:
    """The same of a file that may be unusable."""
    try:
        return _is_like_kins(read_annotation_file(path))
    except DataError:
        return True


def categories(files: dict[str, AnnotationFile]) -> dict[int, str]:
    """The classes of a dataset, id -> name in the order of ids; they must be the same in every split.

    KINS' `rider`, which the files of 2020 list without an instance, is no class.

    Raises:
        DataError: the splits' categories differ.
    """
    listed = {split: dict(file.categories) for split, file in files.items()}
    used = {
        annotation["category_id"]
        for file in files.values()
        for image in file.images
        for annotation in image.annotations
    }
    for names in listed.values():
        of_kins = set(names.values()) <= {*KINS_CLASS_NAMES, RIDER_NAME}
        if of_kins and names.get(RIDER_ID) == RIDER_NAME and RIDER_ID not in used:
            del names[RIDER_ID]
    (first, expected), *others = listed.items()
    for split, names in others:
        if names != expected:
            raise DataError(
                f"the categories of {files[first].path} and {files[split].path} differ: {expected} and {names}"
            )
    return expected


def _list_of_dicts(content: dict, key: str, path: Path) -> list[dict]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: the key '{key}' is missing or no list of objects")
    return entries


def _release(annotations: list[dict], path: Path) -> str:
    present = {key for annotation in annotations for key in annotation}
    for release, keys in KEYS.items():
        if {keys.amodal_mask, keys.inmodal_mask} <= present:
            return release
    for release in ("2020", "2019"):
        masks = {KEYS[release].amodal_mask, KEYS[release].inmodal_mask}
        if masks & present:
            (missing,) = masks - present
            raise DataError(f"{path}: no annotation has the key '{missing}', which KINS' release of {release} has")
    raise DataError(f"{path}: no annotation has a mask under 'a_segm' (2020) or 'segmentation' (2019)")


def _categories(entries: list[dict], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        identifier, class_name = integer(entry, "id", f"{path}: category {index}"), name(entry, "name")
        if class_name is None:
            raise DataError(f"{path}: category {identifier} has no name that can be printed")
        if identifier in names or class_name in names.values():
            raise DataError(f"{path}: two categories have the id {identifier} or the name {class_name!r}")
        names[identifier] = class_name
    if not names:
        raise DataError(f"{path} lists no categories")
    return dict(sorted(names.items()))
