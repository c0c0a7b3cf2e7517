"""The files of COCO-Amodal in both of their forms: one json file an image, and, as released, one json file a split.

That of an image is an object with `image_id` and `regions`; the image lies beside it under the same name. That of a
split has the list `images` of COCO's files and a list `annotations`, each of which is what the file of an image holds,
with an `id` and an `author` besides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amodal_jax.errors import DataError
from amodal_jax.image_paths import ends
from amodal_jax.json_file import read_json
from amodal_jax.json_values import whole_number
from amodal_jax.visible_files import visible_files
from data.all_problems import raise_all
from data.image_files import checked_path, image_in_folders, is_file
from data.json_file import integer, name

_ENDINGS = (".jpg", ".jpeg", ".png")
_IMAGE_SUFFIXES = (*_ENDINGS, *(ending.upper() for ending in _ENDINGS))


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its regions as they stand in a file."""

    where: str  # for messages: the file, and the annotation in it
    image_id: int
    image_path: Path
    size: tuple[int, int] | None  # (height, width), where the file says it
    regions: list[Any]


@dataclass(frozen=True)
class Annotations:
    """What was found at a source."""

    images: tuple[AnnotatedImage, ...]
    unannotated: int  # images that a file lists, and that have no annotation
    others: tuple[Path, ...]  # json files that are not COCO-Amodal's


def find_annotations(source: Path, image_folders: Sequence[Path] = (), author: str | None = None) -> Annotations:
    """Reads the json file of a split, or all json files of a folder, and finds their images.

    Args:
        source: the file or the folder.
        image_folders: where images are looked for before they are beside their file.
        author: the one whose annotations are taken, where images have those of several; None where they have not.

    Raises:
        DataError: there is no file of COCO-Amodal, or one that cannot be used, an image is missing, or has more than
            one annotation; `SeveralErrors`, where it is more than one of these.
    """
    paths = [source] if is_file(source) else visible_files(source, (".json",))
    images: list[AnnotatedImage] = []
    errors: list[DataError] = []
    others = []
    unannotated = 0
    for path in paths:
        try:
            content = read_json(path)
            if isinstance(content, dict) and {"regions", "image_id"} & content.keys():
                if author is None or content.get("author") == author:
                    images.append(_of_image(path, content, image_folders))
                else:
                    unannotated += 1
            elif is_of_split(content):
                found, left, wrong = _of_split(path, content, image_folders, author)
                images += found
                unannotated += left
                errors += wrong
            else:
                others.append(path)
        except DataError as error:
            errors.append(error)
    errors += _repeated(images)
    raise_all(source, errors)
    if not images and is_file(source):
        raise DataError(
            f"{source} is no file of COCO-Amodal, whose annotations have `regions`"
            + (f", with any of {author!r}" if author else "; files of D2SA and COCOA-cls are for from-d2sa")
        )
    if not images:
        raise DataError(f"{source} is no folder with json files of COCO-Amodal, nor the json file of a split")
    return Annotations(tuple(images), unannotated, tuple(others))


def is_of_split(content: Any) -> bool:
    """Whether the content of a json file is that of the file of a split."""
    annotations = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(annotations, list) and any(isinstance(one, dict) and "regions" in one for one in annotations)


def _of_image(path: Path, content: dict[str, Any], image_folders: Sequence[Path]) -> AnnotatedImage:
    image_id = integer(content, "image_id", str(path))
    names = [f"{path.stem}{suffix}" for suffix in _IMAGE_SUFFIXES]
    found = image_in_folders(names, image_folders, str(path)) or image_in_folders(names, [path.parent], str(path))
    if found is None:
        raise DataError(
            f"{path} has no image beside it: {path.stem} with one of {', '.join(_ENDINGS)} is expected, there or in a "
            "folder of --images"
        )
    return AnnotatedImage(str(path), image_id, found, None, _regions(content, str(path)))


def _of_split(
    path: Path, content: dict[str, Any], image_folders: Sequence[Path], author: str | None
) -> tuple[list[AnnotatedImage], int, list[DataError]]:
    """The images of a split that are annotated, how many are not, and what is wrong with others."""
    listed = content.get("images")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise DataError(f"{path}: the key 'images' is missing or no list of objects")
    entries: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(listed):
        identifier = integer(entry, "id", f"{path}: image {index}")
        if identifier in entries:
            raise DataError(f"{path}: two images have the id {identifier}")
        entries[identifier] = entry
    images, errors = [], []
    annotated = set()
    for index, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation {index}"
        try:
            if not isinstance(annotation, dict):
                raise DataError(f"{where} is no object")
            image_id = integer(annotation, "image_id", where)
            if image_id not in entries:
                raise DataError(f"{where} is of the image {image_id}, which the file does not list")
            if author is not None and annotation.get("author") != author:
                continue
            annotated.add(image_id)
            by = "" if (one := name(annotation, "author")) is None else f" by {one}"
            where += f" (image {image_id}{by})"
            entry = entries[image_id]
            images.append(
                AnnotatedImage(
                    where,
                    image_id,
                    _listed_image(path, entry, where, image_folders),
                    _size(entry),
                    _regions(annotation, where),
                )
            )
        except DataError as error:
            errors.append(error)
    return images, len(entries) - len(annotated), errors


def _listed_image(path: Path, entry: dict[str, Any], where: str, image_folders: Sequence[Path]) -> Path:
    written = entry.get("file_name")
    if not isinstance(written, str):
        raise DataError(f"{where}: its image has no text under 'file_name'")
    names = list(ends(checked_path(written, where)))
    found = image_in_folders(names, image_folders, where) or image_in_folders(names, [path.parent], where)
    if found is None:
        folders = ", ".join(map(str, (*image_folders, path.parent)))
        raise DataError(f"{where}: its image {written} is in none of {folders}; name the folder with --images")
    return found


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = (whole_number(entry.get(key)) for key in ("height", "width"))
    return None if height is None or width is None else (height, width)


def _regions(annotation: dict[str, Any], where: str) -> list[Any]:
    regions = annotation.get("regions")
    if not isinstance(regions, list):
        raise DataError(f"{where}: the key 'regions' is missing or of the wrong type")
    return regions


def _repeated(images: Sequence[AnnotatedImage]) -> list[DataError]:
    first: dict[int, AnnotatedImage] = {}
    return [
        DataError(
            f"{other.where} and {image.where} are both of the image_id {image.image_id}; leave one, or, where several "
            "people have annotated the images, name one of them with --author"
        )
        for image in images
        if (other := first.setdefault(image.image_id, image)) is not image
    ]
