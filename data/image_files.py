"""The image files of a dataset, looked at without decoding them."""

from pathlib import Path

from amodal_jax.errors import ImageError
from amodal_jax.image_framing import file_damage, orientation, stored_size


def checked_size(path: Path) -> tuple[int, int]:
    """The (height, width) of a PNG or JPEG file.

    Raises:
        ImageError: the file is missing, truncated, damaged, neither PNG nor JPEG, or stored turned: whether boxes and
            masks are of the stored or of the upright picture, which prediction sees, nothing says.
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
    if orientation(content) != 1:
        raise ImageError(
            f"{path}: is stored turned (EXIF orientation {orientation(content)}), so that nothing says what its "
            "annotations refer to; store the pixels as they were annotated, without that entry"
        )
    return size
