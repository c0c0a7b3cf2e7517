"""Image files of any common kind as the network takes them: uint8 RGB [H, W, 3]."""

import zlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from amodal_jax.errors import ImageError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"


def read_image(path: str | Path) -> UInt8[np.ndarray, "H W 3"]:
    """Reads an image file as 8-bit RGB, upright.

    Grey images get three equal channels, palettes are looked up, and an alpha channel is dropped: the colours are taken
    as they are stored, for no background to lay them on is known. 16-bit values v become round(v / 257), so that the
    full range stays the full range. The orientation that a camera wrote into EXIF is applied; boxes and masks found on
    the image refer to the upright one.

    Raises:
      ImageError: the file is missing, no image, incomplete, damaged, or of floating-point pixels; names the file.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise ImageError(f"{path}: the file is empty")
    damage = file_damage(content)
    if damage:
        raise ImageError(f"{path}: {damage}; copy or download the file again")
    try:
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded: {error.err}") from error
    if bgr is None:
        raise ImageError(f"{path}: is no image, is damaged, or is of a kind that OpenCV does not read")
    if bgr.dtype == np.uint16:
        bgr = ((bgr.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if bgr.dtype != np.uint8:
        raise ImageError(f"{path}: has {bgr.dtype} pixels; convert it to 8 or 16 bits a channel")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def file_damage(content: bytes) -> str | None:
    """What is wrong with a PNG's or JPEG's framing, or None.

    Decoders fill up a file that ends early: before 5.0, OpenCV returns a cut JPEG as a half-grey picture without a
    word. So completeness is not left to them for the two kinds that nearly all images are of.
    """
    if content.startswith(_PNG_SIGNATURE):
        return _png_damage(content)
    if content.startswith(_JPEG_START):
        return _jpeg_damage(content)
    return None


def _png_damage(content: bytes) -> str | None:
    """Every chunk up to IEND must be there with the checksum it carries."""
    view = memoryview(content)
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        length = int.from_bytes(view[position : position + 4])
        kind = bytes(view[position + 4 : position + 8])
        end = position + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return "the PNG file is damaged (a checksum is wrong)"
        if kind == b"IEND":
            return None
        position = end + 4
    return "the PNG file is truncated"


def _jpeg_damage(content: bytes) -> str | None:
    """An end-of-image marker must follow the start of the scan; one before it belongs to an embedded thumbnail."""
    position = len(_JPEG_START)
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            return "the JPEG file is damaged (no marker where one is due)"
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == 0xDA:  # start of scan
            return None if content.find(b"\xff\xd9", position) >= 0 else "the JPEG file is truncated"
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
            position += 2
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4])
    return "the JPEG file is truncated"
