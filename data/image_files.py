"""The image files of a dataset: their names, whether they are whole, and their size."""

import re
from pathlib import Path

from amodal_jax.errors import DataError, ImageError
from amodal_jax.image_damage import image_kind, missing_pixels
from amodal_jax.image_framing import file_damage, orientation, stored_size

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


def is_file(path: Path) -> bool:
    """Whether there is a file, and not a name that the system cannot even look for."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def checked_size(path: Path) -> tuple[int, int]:
    """The (height, width) of a PNG or JPEG file.

    Raises:
        ImageError: the file is missing, truncated, damaged, neither PNG nor JPEG, of an impossible size, or stored
            turned: whether boxes and masks are of the stored or of the upright picture, which prediction sees, nothing
            says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from None
    found = file_damage(content)
    if found:
        raise ImageError(f"{path}: {found}; copy or download the file again")
    size = stored_size(content)
    if size is None:
        kind = image_kind(content)
        raise ImageError(
            f"{path}: is a {kind} image, and datasets hold PNG and JPEG; convert it to PNG"
            if kind
            else f"{path}: is no PNG or JPEG image, nor one of another common kind; copy or download the file again"
        )
    if not is_size(*size):
        raise ImageError(f"{path}: says that it has {size[0]} rows and {size[1]} columns; copy or download it again")
    if orientation(content) != 1:
        raise ImageError(
            f"{path}: is stored turned (EXIF orientation {orientation(content)}), so that nothing says what its "
            "annotations refer to; store the pixels as they were annotated, without that entry"
        )
    found = missing_pixels(content)
    if found:
        raise ImageError(f"{path}: {found}; copy or download the file again")
    return size
