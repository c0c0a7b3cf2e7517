"""The image files of a dataset: their names, whether they are whole, and their size."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2

from amodal_jax.errors import DataError, ImageError
from amodal_jax.image_damage import image_kind, missing_pixels
from amodal_jax.image_framing import file_damage, orientation, stored_size
from amodal_jax.image_paths import image_path
from amodal_jax.image_reader import decode_image

# What the sides of a JPEG can be, and 134 million pixels: a file that says more is wrong about itself, and a
# mask of its size would not fit into memory.
_LARGEST_SIDE = 65_535
_MOST_PIXELS = 2**27


def is_size(height: int, width: int) -> bool:
    """Whether an image can have this size."""
    return 0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE and height * width <= _MOST_PIXELS


def base_name(file_name: str, where: str) -> str:
    """The name of an image without its folders, whichever system's separators they have.

    Raises:
        DataError: that is no name that a file can have; the message begins with `where`.
    """
    name = re.split(r"[/\\]", file_name)[-1]
    if name in ("", ".", "..") or not name.isprintable() or len(name.encode()) > 255:
        raise DataError(f"{where} has {name[:60]!r} as the name of its image, which no file can have")
    return name


def checked_path(file_name: str, where: str) -> str:
    """The path of an image as `amodal_jax.image_paths.image_path` gives it.

    Raises:
        DataError: it has a name that no file or folder can have; the message begins with `where`.
    """
    base_name(file_name, where)
    path = image_path(file_name)
    for name in path.split("/"):
        base_name(name, where)
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file, and not a name that the system cannot even look for."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def image_in_folders(paths: Iterable[str], folders: Sequence[Path], where: str) -> Path | None:
    """The file at the first of the paths that one of the folders has; None where none has any.

    Raises:
        DataError: several folders have files there, of which nothing says which is meant; the message begins with
            `where`.
    """
    for path in paths:
        found = {(folder / path).resolve(): folder / path for folder in folders if is_file(folder / path)}
        if len(found) > 1:
            raise DataError(
                f"{where}: its image {path} may be any of {', '.join(map(str, found.values()))}; name one of these "
                "folders with --images"
            )
        if found:
            return next(iter(found.values()))
    return None


def checked_size(path: Path) -> tuple[int, int]:
    """The (height, width) of a PNG or JPEG file.

    Raises:
        ImageError: the file is missing, truncated, damaged, neither PNG nor JPEG, of an impossible size, or stored
            turned: whether boxes and masks are of the stored or of the upright picture, which prediction sees, nothing
            says.
    """
    content = read_image_file(path)
    size = checked_content_size(content, str(path))
    if orientation(content) != 1:
        raise ImageError(
            f"{path}: is stored turned (EXIF orientation {orientation(content)}), so that nothing says what its "
            "annotations refer to; store the pixels as they were annotated, without that entry"
        )
    return size


def read_image_file(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from None


def checked_content_size(content: bytes, name: str) -> tuple[int, int]:
    """The (height, width) of the pixels as a PNG or JPEG file stores them; `name` is what errors call it.

    Raises:
        ImageError: it is truncated, damaged, neither PNG nor JPEG, or of an impossible size.
    """
    found = file_damage(content)
    if found:
        raise ImageError(f"{name}: {found}; copy or download the file again")
    size = stored_size(content)
    if size is None:
        kind = image_kind(content)
        raise ImageError(
            f"{name}: is a {kind} image, and datasets hold PNG and JPEG; convert it to PNG"
            if kind
            else f"{name}: is no PNG or JPEG image, nor one of another common kind; copy or download the file again"
        )
    if not is_size(*size):
        raise ImageError(f"{name}: says that it has {size[0]} rows and {size[1]} columns; copy or download it again")
    found = missing_pixels(content)
    if found:
        raise ImageError(f"{name}: {found}; copy or download the file again")
    return size


def is_dataset_image(content: bytes) -> bool:
    """Whether an image can lie in a dataset as it is: a PNG or JPEG, if it is undamaged, that is stored upright."""
    if image_kind(content) not in ("PNG", "JPEG"):
        return False
    return file_damage(content) is not None or orientation(content) == 1


def upright_png(content: bytes, name: str) -> bytes:
    """An image of any kind that `amodal_jax.image_reader` reads as the PNG of its upright picture, 8 bits a channel.

    Raises:
        ImageError: it cannot be read; `name` is what the error calls it.
    """
    encoded, png = cv2.imencode(".png", cv2.cvtColor(decode_image(content, name), cv2.COLOR_RGB2BGR))
    if not encoded:
        raise ImageError(f"{name}: cannot be written as PNG")
    return png.tobytes()
