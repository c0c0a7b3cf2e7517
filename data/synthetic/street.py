"""The street and its light, as they are drawn at random."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from data.synthetic.solids import Light


@dataclass(frozen=True)
class Street:
    """What lies where across the street, metres to the right of the camera; it bends with depth."""

    lanes: tuple[float, ...]
    """middle of each lane"""
    left_edge: float
    right_edge: float
    """of the carriageway, parking strips included"""
    pavement: float
    """width of the pavement on either side"""
    bend: float
    """lateral shift at depth z is bend * z ** 2"""
    frontage: tuple[float, float] | None = None
    """metres from the pavement to the buildings, left and right; None leaves it to the drawing"""

    def shift(self, z: Any) -> Any:
        """Metres to the right at depth z, a number or an array."""
        return self.bend * z * z


def sample_street(rng: np.random.Generator, parking: tuple[float, float] = (0.0, 2.2)) -> Street:
    """A street whose parking strips are so wide, metres."""
    lane = rng.uniform(2.9, 3.7)
    left, right = int(rng.integers(1, 3)), int(rng.integers(0, 2))
    lanes = tuple(lane * k for k in range(-left, right + 1))
    strips = rng.uniform(*parking, 2)
    return Street(
        lanes=lanes,
        left_edge=lanes[0] - lane / 2 - strips[0],
        right_edge=lanes[-1] + lane / 2 + strips[1],
        pavement=rng.uniform(2.0, 5.0),
        bend=rng.normal(0.0, 0.0012),
    )


def sample_light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(20, 75))
    overcast = rng.random() < 0.35
    sky = np.array(
        colorsys.hsv_to_rgb(rng.uniform(0.5, 0.66), rng.uniform(0.02, 0.12) if overcast else rng.uniform(0.2, 0.6), 1.0)
    )
    if rng.random() < 0.15:
        sky = np.array(colorsys.hsv_to_rgb(rng.uniform(0.02, 0.14), rng.uniform(0.1, 0.45), 1.0))
    sky = 255 * rng.uniform(0.6, 1.0) * sky
    return Light(
        direction=_direction(azimuth, elevation),
        ambient=rng.uniform(0.7, 0.9) if overcast else rng.uniform(0.35, 0.65),
        sky=sky,
        haze=0.6 * sky + 0.4 * 215.0,
        visibility=float(np.exp(rng.uniform(np.log(90), np.log(900)))),
    )


def sample_daylight(rng: np.random.Generator) -> Light:
    """Clear or cloudy, by day, without haze of any colour."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 65))
    overcast = rng.random() < 0.3
    saturation = rng.uniform(0.0, 0.08) if overcast else rng.uniform(0.15, 0.45)
    sky = 255 * rng.uniform(0.85, 1.0) * np.array(colorsys.hsv_to_rgb(rng.uniform(0.54, 0.6), saturation, 1.0))
    return Light(
        direction=_direction(azimuth, elevation),
        ambient=rng.uniform(0.75, 0.9) if overcast else rng.uniform(0.5, 0.65),
        sky=sky,
        haze=0.5 * sky + 0.5 * 225.0,
        visibility=float(np.exp(rng.uniform(np.log(200), np.log(1500)))),
    )


def _direction(azimuth: float, elevation: float) -> Float[np.ndarray, " 3"]:
    """Towards the sun, of length 1; angles in radians, y is up."""
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(elevation), np.sin(azimuth) * np.cos(elevation)])
