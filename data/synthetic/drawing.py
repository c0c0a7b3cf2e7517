"""What the background is drawn with: colours, noise, hazed polygons on the ground and on the image."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from jaxtyping import Float

from data.synthetic.camera import NEAR_PLANE, Camera, clip_to_near_plane
from data.synthetic.solids import SHIFT, Light, fixed_point


def noise(rng: np.random.Generator, height: int, width: int, cells_y: int, cells_x: int) -> Float[np.ndarray, "h w"]:
    """Smooth noise in -1..1 with about this many bumps down and across."""
    coarse = rng.uniform(-1, 1, (max(cells_y, 1) + 1, max(cells_x, 1) + 1)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def any_colour(
    rng: np.random.Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    return 255.0 * np.array(colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)))


def hazed(colour: np.ndarray, z: float, light: Light) -> list[float]:
    clear = float(np.exp(-max(z, 0.0) / light.visibility))
    return np.clip(clear * colour + (1 - clear) * light.haze, 0, 255).tolist()


def fill(image: np.ndarray, camera: Camera, polygons: Float[np.ndarray, "m n 3"], colour: list[float]) -> None:
    """Fills polygons of one colour that do not overlap."""
    if not len(polygons):
        return
    if polygons[..., 2].min() >= NEAR_PLANE:
        pixels = fixed_point(camera.project(polygons.reshape(-1, 3)))
        outlines = list(pixels.reshape(*polygons.shape[:2], 2))
    else:
        clipped = [clip_to_near_plane(polygon) for polygon in polygons]
        outlines = [fixed_point(camera.project(polygon)) for polygon in clipped if len(polygon) >= 3]
    cv2.fillPoly(image, outlines, colour, cv2.LINE_AA, SHIFT)


def rectangles(low: Float[np.ndarray, "m 3"], high: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 4 3"]:
    """Upright rectangles between opposite corners."""
    (x0, y0, z0), (x1, y1, z1) = low.T, high.T
    corners = [np.stack(corner, axis=1) for corner in ((x0, y0, z0), (x1, y0, z1), (x1, y1, z1), (x0, y1, z0))]
    return np.stack(corners, axis=1)


def fill_flat(image: np.ndarray, outline: Float[np.ndarray, "n 2"], colour: list[float]) -> None:
    cv2.fillPoly(image, [fixed_point(outline)], colour, cv2.LINE_AA, SHIFT)


def stem(foot: Float[np.ndarray, " 2"], top: Float[np.ndarray, " 2"], low: float, high: float) -> np.ndarray:
    """The outline of a trunk or post with these half widths at its foot and top, pixels."""
    return np.array(
        [[foot[0] - low, foot[1]], [foot[0] + low, foot[1]], [top[0] + high, top[1]], [top[0] - high, top[1]]]
    )
