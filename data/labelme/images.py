"""The image of a labelme file: where the file says, where people have moved it to, or in the file itself."""

import base64
import binascii
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from amodal_jax.errors import DataError
from amodal_jax.image_damage import image_kind
from amodal_jax.image_paths import ends, image_path
from amodal_jax.json_file import shorten
from data.image_files import (
    base_name,
    checked_content_size,
    image_in_folders,
    is_dataset_image,
    is_file,
    read_image_file,
    upright_png,
)
from data.json_file import read_json_object


@dataclass(frozen=True)
class ImageOfFile:
    """An image, as labelme shows it and a dataset holds it."""

    path: Path  # of the image file; where there is none, where it would lie beside its json file
    name: str  # in the dataset
    height: int
    width: int
    content: Callable[[], bytes] | None  # gives the file's bytes in the dataset, where they are not those at `path`


def image_of_file(path: Path, labelled: dict[str, Any], image_folders: tuple[Path, ...], source: Path) -> ImageOfFile:
    """Finds the image of a labelme file.

    It lies where `imagePath` says, in one of the folders, or beside the json file, or it is in the json file, as
    `imageData`. What is no PNG or JPEG, or is stored turned, becomes the PNG of its upright picture, which is what
    labelme shows and annotations refer to.

    Args:
        path: of the json file.
        labelled: its content.
        image_folders: where images are looked for that are not where their file says, by as much of the path in
            `imagePath` as there is, and by the folder that the json file has below `source`.
        source: the folder of all json files, in which the file is.

    Raises:
        DataError: there is no image, or several that may be meant.
        ImageError: it is damaged, or of a kind that is not read.
    """
    written, data = labelled.get("imagePath"), labelled.get("imageData")
    if not isinstance(written, str) and not isinstance(data, str):
        raise DataError(f"{path}: has neither a text `imagePath` nor a text `imageData`, as files of labelme have")
    written = written if isinstance(written, str) and written else f"{path.stem}.png"
    name = base_name(written, str(path))
    found = _find(path, written, name, image_folders, source)
    if found is None and not isinstance(data, str):
        here = () if PureWindowsPath(written).drive else (_as_written(path, written),)
        places = (*here, *(folder / name for folder in image_folders), path.parent / name)
        raise DataError(
            f"{path}: its image {shorten(written)} is none of {', '.join(map(str, dict.fromkeys(places)))}, and the "
            "file has no imageData; name the folder of the images with --images"
        )
    if found is None:
        content = _decoded(data, path)
        endings = (".png",) if image_kind(content) == "PNG" else (".jpg", ".jpeg")
        if not name.lower().endswith(endings):
            name = f"{Path(name).stem}{endings[0]}"
        size = checked_content_size(content, f"{path}: imageData")
        return ImageOfFile(path.parent / name, name, *size, content=functools.partial(_embedded, path))
    content = read_image_file(found)
    if is_dataset_image(content):
        return ImageOfFile(found, found.name, *checked_content_size(content, str(found)), content=None)
    size = checked_content_size(upright_png(content, str(found)), str(found))
    return ImageOfFile(found, f"{found.stem}.png", *size, content=functools.partial(_file_as_png, found))


def _decoded(data: Any, path: Path) -> bytes:
    """The image that is written in a labelme file, as a dataset holds it."""
    try:
        content = base64.b64decode("".join(data.split()), validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    name = f"{path}: imageData"
    if image_kind(content) is None:
        raise DataError(f"{name} is no image; put the image beside the file, or name its folder with --images")
    return content if is_dataset_image(content) else upright_png(content, name)


def _embedded(path: Path) -> bytes:
    return _decoded(read_json_object(path).get("imageData"), path)


def _file_as_png(path: Path) -> bytes:
    return upright_png(read_image_file(path), str(path))


def _find(path: Path, written: str, name: str, image_folders: tuple[Path, ...], source: Path) -> Path | None:
    if is_file(_as_written(path, written)):
        return _as_written(path, written)
    names = list(ends(image_path(written)))
    names.insert(-1, (path.parent.relative_to(source) / name).as_posix())
    found = image_in_folders(names, image_folders, str(path))
    beside = path.parent / name
    return beside if found is None and is_file(beside) else found


def _as_written(path: Path, written: str) -> Path:
    """Where `imagePath` says; labelme writes it as the system that it runs on does."""
    return Path(written) if Path(written).is_absolute() else path.parent.joinpath(*re.split(r"[/\\]", written))
