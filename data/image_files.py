"""The image files of a dataset, looked at without decoding them."""

import re
from pathlib import Path

from amodal_jax.errors import DataError, ImageError
from amodal_jax.image_framing import file_damage, orientation, stored_size
from amodal_jax.image_paths import image_path

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
    damage = file_damage(content)
    if damage:
        raise ImageError(f"{path}: {damage}; copy or download the file again")
    size = stored_size(content)
    if size is None:
        raise ImageError(f"{path}: is no PNG or JPEG image; copy or download the file again")
    if not is_size(*size):
        raise ImageError(f"{path}: says that it has {size[0]} rows and {size[1]} columns; copy or download it again")
    if orientation(content) != 1:
        raise ImageError(
            f"{path}: is stored turned (EXIF orientation {orientation(content)}), so that nothing says what its "
            "annotations refer to; store the pixels as they were annotated, without that entry"
        )
    return size
