"""Image files of any common kind as the network takes them: uint8 RGB [H, W, 3]."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from amodal_jax.errors import ImageError
from amodal_jax.image_damage import damage, why_unread


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
    return decode_image(content, str(path))


def decode_image(content: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes the content of an image file as `read_image` does; `name` is what its errors call it."""
    if not content:
        raise ImageError(f"{name}: the file is empty")
    found = damage(content)
    if found:
        raise ImageError(f"{name}: {found}; copy or download the file again")
    try:
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded: {error.err}") from error
    if bgr is None:
        raise ImageError(f"{name}: {why_unread(content)}; copy or download the file again, or convert it to PNG")
    if bgr.dtype == np.uint16:
        bgr = ((bgr.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if bgr.dtype != np.uint8:
        raise ImageError(f"{name}: has {bgr.dtype} pixels; convert it to 8 or 16 bits a channel")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
