"""KITTI's disparity, flow and object maps: 16-bit PNGs, with pixels that have no value, and how those are filled.

Shape shorthand: H x W pixels. Disparities are in pixels, flow is (u, v) in pixels to the right and down.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from amodal_jax.errors import DataError, ImageError
from amodal_jax.files.image_damage import damage, why_unread

_NO_DISPARITY = -1.0  # as KITTI's development kit marks it, which matters where nothing can fill it


class Map(NamedTuple):
    """A disparity map (C = 1) or a flow map (C = 2)."""

    values: Float32[np.ndarray, "H W C"]
    valid: Bool[np.ndarray, "H W"]


def read_disparity(path: Path) -> Map:
    """A disparity map: 256 times the disparity in a channel of 16 bits, 0 where there is none.

    Raises:
      DataError: the file is missing, damaged or of another form; names it.
    """
    stored = _read(path)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise DataError(f"{path}: a disparity map is a PNG of one channel of 16 bits, and this is {_form(stored)}")
    valid = stored > 0
    return Map(np.where(valid, stored / np.float32(256), np.float32(_NO_DISPARITY))[..., None], valid)


def read_flow(path: Path) -> Map:
    """A flow map: 64 times u and v, each plus 2 ** 15, in red and green of 16 bits; blue is 0 where there is none.

    Raises:
      DataError: the file is missing, damaged or of another form; names it.
    """
    stored = _read(path)
    if stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        raise DataError(f"{path}: a flow map is a PNG of three channels of 16 bits, and this is {_form(stored)}")
    blue, green, red = np.moveaxis(stored, 2, 0)  # OpenCV's order
    values = (np.stack([red, green], axis=2).astype(np.float32) - np.float32(32768)) / np.float32(64)
    valid = blue > 0
    return Map(np.where(valid[..., None], values, np.float32(0)), valid)


def read_foreground(path: Path) -> Bool[np.ndarray, "H W"]:
    """Where an object map has an object: a moving one that KITTI has fitted a model to; the rest is background.

    Raises:
      DataError: the file is missing, damaged or of another form; names it.
    """
    stored = _read(path)
    if stored.ndim != 2:
        raise DataError(f"{path}: an object map is a PNG of one channel, and this is {_form(stored)}")
    return stored > 0


def filled(map_: Map) -> Float32[np.ndarray, "H W C"]:
    """The values of a map with those interpolated that it has not, as KITTI's development kit does before it counts.

    In a row what lies between two pixels with values gets the lesser of them, in each channel by itself (the background
    is the farther), and what lies beside the first or last gets its value. Rows without any value above the first row
    that has one, and below the last, are copied from those; between them they stay as they are.
    """
    values, valid = map_
    height, width = valid.shape
    columns = np.arange(width)
    before = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, columns, width)[:, ::-1], axis=1)[:, ::-1]
    has_values = valid.any(axis=1)
    # At the ends of a row there is one neighbour, which is then both.
    left = np.where(before >= 0, before, after)
    right = np.where(after < width, after, before)
    rows = np.arange(height)[:, None]
    result = values.copy()
    some = np.flatnonzero(has_values)
    between = np.minimum(values[rows[some], left[some]], values[rows[some], right[some]])
    result[some] = np.where(valid[some, :, None], values[some], between)
    if len(some):
        result[: some[0]] = result[some[0]]
        result[some[-1] + 1 :] = result[some[-1]]
    return result


def _read(path: Path) -> np.ndarray:
    """The pixels of a PNG as they are stored."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    found = damage(content) if content else "the file is empty"
    if found:
        raise ImageError(f"{path}: {found}; copy or write the file again")
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ImageError(f"{path}: {why_unread(content)}; copy or write the file again")
    return stored


def _form(stored: np.ndarray) -> str:
    channels = 1 if stored.ndim == 2 else stored.shape[2]
    return f"one of {channels} of {8 * stored.dtype.itemsize} bits"
