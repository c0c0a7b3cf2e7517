"""The size of an image file, and whether it is whole, without decoding it."""

import struct
from pathlib import Path

from amodal_jax.errors import ImageError
from amodal_jax.image_reader import file_damage

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
# Start-of-frame markers, which carry the size: C0 to CF but for the tables and extensions among them.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def checked_size(path: Path) -> tuple[int, int]:
    """The (height, width) of a PNG or JPEG file.

    Raises:
        ImageError: the file is missing, truncated, damaged, or neither PNG nor JPEG.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from None
    damage = file_damage(content)
    if damage:
        raise ImageError(f"{path}: {damage}; copy or download the file again")
    if content.startswith(_PNG_SIGNATURE):
        width, height = struct.unpack_from(">II", content, len(_PNG_SIGNATURE) + 8)
        return height, width
    size = _jpeg_size(content) if content.startswith(_JPEG_START) else None
    if size is None:
        raise ImageError(f"{path}: is no PNG or JPEG image; copy or download the file again")
    return size


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    position = len(_JPEG_START)
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return height, width
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4])
    return None
