"""A pinhole camera over a flat ground.

World coordinates are metres: x to the right, y up from the ground, z forward from the camera, which stands over the
origin. Pixel coordinates are continuous: pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# KITTI's rectified colour camera: focal length and principal point for an image of 1242 x 375.
KITTI_WIDTH = 1242
KITTI_FOCAL = 721.5
KITTI_CENTRE_X = 609.6 / 1242
KITTI_HORIZON = 172.9 / 375
NEAR_PLANE = 0.5


@dataclass(frozen=True)
class Camera:
    """A level camera; its image rows run along the ground's x."""

    width: int
    """pixels"""
    height: int
    """pixels"""
    focal: float
    """pixels"""
    centre_x: float
    """column of the principal point, pixels"""
    horizon: float
    """row of the horizon, pixels"""
    elevation: float
    """of the camera over the ground, metres"""

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """World points, all in front of the camera, to pixel coordinates."""
        scale = self.focal / points[:, 2]
        pixels = points[:, :2] * scale[:, None]
        pixels[:, 0] += self.centre_x
        pixels[:, 1] = self.horizon + self.elevation * scale - pixels[:, 1]
        return pixels


def sample_camera(rng: np.random.Generator, width: int, height: int) -> Camera:
    """KITTI's camera scaled to the image's width, its pitch and mounting a little different in each scene."""
    return Camera(
        width=width,
        height=height,
        focal=KITTI_FOCAL / KITTI_WIDTH * width * rng.uniform(0.95, 1.05),
        centre_x=KITTI_CENTRE_X * width,
        horizon=height * (KITTI_HORIZON + rng.uniform(-0.05, 0.05)),
        elevation=rng.uniform(1.5, 1.8),
    )


def clip_to_near_plane(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """The part of a polygon that lies in front of the near plane (Sutherland-Hodgman); m = 0 where there is none."""
    inside = points[:, 2] >= NEAR_PLANE
    if inside.all():
        return points
    if not inside.any():
        return np.zeros((0, 3))
    clipped = []
    for index, point in enumerate(points):
        previous = points[index - 1]
        if inside[index] != inside[index - 1]:
            t = (NEAR_PLANE - previous[2]) / (point[2] - previous[2])
            crossing = previous + t * (point - previous)
            crossing[2] = NEAR_PLANE
            clipped.append(crossing)
        if inside[index]:
            clipped.append(point)
    return np.array(clipped)
