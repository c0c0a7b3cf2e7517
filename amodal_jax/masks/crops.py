"""Crops: masks resampled in the frame of their object's amodal box, on the host.

Shape shorthand: H, W image size. A crop has 112 x 112 cells over the box, whatever the box' size, so that it stays as
it is when the image is resized and is mirrored when the image is; bit-packed along x it takes 1.6 kB.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Num, UInt8

from amodal_jax.records import CROP_SIZE


def crop_mask(mask: Bool[np.ndarray, "H W"], box: Num[np.ndarray, "4"]) -> Bool[np.ndarray, "112 112"]:
    """Resamples a mask in the frame of a box: a cell is set where the mask covers at least half of its area.

    Args:
      mask: of the whole image; empty beyond it.
      box: xyxy in pixels, which may lie at fractions of pixels and reach beyond the image. A box without area gives an
        empty crop.
    """
    height, width = mask.shape
    x1, y1, x2, y2 = (float(edge) for edge in box)
    cell_area = (x2 - x1) * (y2 - y1) / CROP_SIZE**2
    if not (x2 > x1 and y2 > y1):
        return np.zeros((CROP_SIZE, CROP_SIZE), bool)
    # Only the pixels under the box are integrated; the integral of a mask is bilinear within each pixel, so that
    # interpolating it at the cells' corners gives exact areas.
    left, right = int(np.clip(np.floor(x1), 0, width)), int(np.clip(np.ceil(x2), 0, width))
    top, bottom = int(np.clip(np.floor(y1), 0, height)), int(np.clip(np.ceil(y2), 0, height))
    if left == right or top == bottom:
        return np.zeros((CROP_SIZE, CROP_SIZE), bool)
    integral = cv2.integral(mask[top:bottom, left:right].view(np.uint8)).astype(np.float64)
    rows = _interpolate(integral, np.linspace(y1, y2, CROP_SIZE + 1) - top)
    corners = _interpolate(rows.T, np.linspace(x1, x2, CROP_SIZE + 1) - left).T
    covered = np.diff(np.diff(corners, axis=0), axis=1)
    # The tolerance keeps halves that rounding left a little short.
    return covered >= (0.5 - 1e-9) * cell_area


def pack_crop(crop: Bool[np.ndarray, "112 112"]) -> UInt8[np.ndarray, "112 14"]:
    """Packs eight cells of a row in a byte, the leftmost in the most significant bit."""
    return np.packbits(crop, axis=1)


def unpack_crop(packed: UInt8[np.ndarray, "112 14"]) -> Bool[np.ndarray, "112 112"]:
    """Undoes `pack_crop`."""
    return np.unpackbits(packed, axis=1).astype(bool)


def _interpolate(values, positions):
    """Rows of `values` at fractional positions, the border rows beyond them."""
    positions = np.clip(positions, 0, len(values) - 1)
    low = np.minimum(positions.astype(np.int64), len(values) - 2)
    weight = (positions - low)[:, None]
    return values[low] * (1 - weight) + values[low + 1] * weight
