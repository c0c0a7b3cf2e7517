"""The user's own photographs as backgrounds of scenes, their streets assumed level and their horizon in the middle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from amodal_jax.errors import DataError
from amodal_jax.image_reader import read_image
from amodal_jax.visible_files import visible_files
from data.image_files import checked_size
from data.synthetic.camera import Camera

SUFFIXES = (".png", ".jpg", ".jpeg")
LEAST_SIDE = 64
"""pixels"""
LEAST_PART = 0.6
"""Share of the widest possible crop's width that a crop has at least."""


@dataclass(frozen=True)
class Photographs:
    """Image files and what identifies their content."""

    paths: tuple[Path, ...]
    sha256: str


def find_photographs(folder: Path) -> Photographs:
    """All images of a folder, by name.

    Raises:
        DataError: there are none.
        ImageError: one is damaged or too small; names it.
    """
    paths = visible_files(folder, SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no images to draw scenes on ({', '.join(SUFFIXES)})")
    digest = hashlib.sha256()
    for path in paths:
        if min(checked_size(path)) < LEAST_SIDE:
            raise DataError(f"{path} is under {LEAST_SIDE} pixels wide or high: too small a background")
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return Photographs(tuple(paths), digest.hexdigest())


def photographed_background(
    rng: np.random.Generator, camera: Camera, photographs: Photographs
) -> Float[np.ndarray, "H W 3"]:
    """A part of one of the photographs, RGB in 0..255, with the middle of its height on the camera's horizon."""
    photograph = read_image(photographs.paths[rng.integers(len(photographs.paths))])
    return crop_to_horizon(rng, photograph, camera).astype(np.float32)


def crop_to_horizon(
    rng: np.random.Generator, photograph: UInt8[np.ndarray, "h w 3"], camera: Camera
) -> UInt8[np.ndarray, "H W 3"]:
    """A random part of a photograph, scaled to the camera's image so that the horizons coincide; half of them mirrored.

    Where the photograph is too low for that, the part lies as near to it as can be.
    """
    height, width = photograph.shape[:2]
    widest = min(float(width), height * camera.width / camera.height)
    columns = widest * rng.uniform(LEAST_PART, 1.0)
    rows = columns * camera.height / camera.width
    left = rng.uniform(0.0, width - columns)
    top = float(np.clip(0.5 * height - rows * camera.horizon / camera.height, 0.0, height - rows))
    scale = columns / camera.width
    # Pixel centres are at half numbers in the continuous coordinates, at whole ones in OpenCV's.
    to_photograph = np.array([[scale, 0.0, left + 0.5 * scale - 0.5], [0.0, scale, top + 0.5 * scale - 0.5]])
    if scale > 1:
        photograph = cv2.GaussianBlur(photograph, (0, 0), 0.4 * scale)
    part = cv2.warpAffine(
        photograph,
        to_photograph,
        (camera.width, camera.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return part[:, ::-1].copy() if rng.random() < 0.5 else part
