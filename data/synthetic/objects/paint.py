"""Colours of objects, RGB in 0..255: of what is always the same, and drawn."""

from __future__ import annotations

import colorsys

import numpy as np

from data.synthetic.solids import Colour

BLACK = np.array([22.0, 22.0, 24.0])
TYRE = np.array([30.0, 29.0, 30.0])
RIM = np.array([150.0, 152.0, 156.0])
PLATE = np.array([235.0, 232.0, 215.0])
TAIL_LIGHT = np.array([205.0, 22.0, 20.0])
HEADLIGHT = np.array([245.0, 243.0, 225.0])
SKIN = np.array([[238, 200, 172], [219, 172, 136], [178, 126, 92], [120, 80, 56], [84, 56, 42]], float)
HAIR = np.array([[28, 22, 20], [70, 46, 30], [120, 82, 46], [196, 160, 100], [150, 150, 150]], float)


def hsv_colour(hue: float, saturation: float, value: float) -> Colour:
    return 255.0 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def sample_colour(rng: np.random.Generator, saturation: float = 1.0) -> Colour:
    return hsv_colour(rng.uniform(), saturation * rng.uniform(0.1, 0.95), rng.uniform(0.2, 1.0))


def sample_paint(rng: np.random.Generator) -> Colour:
    """A car's colour: half of them white to black, as on the road."""
    if rng.random() < 0.5:
        return np.full(3, rng.choice([235.0, 190.0, 140.0, 85.0, 45.0]) * rng.uniform(0.85, 1.05))
    return hsv_colour(rng.uniform(), rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.95))


def sample_street_paint(rng: np.random.Generator) -> Colour:
    """A car's colour as they are counted on roads: three of four without a hue, the others mostly blue or red, deep."""
    if rng.random() < 0.74:
        return np.full(3, rng.choice([240.0, 185.0, 140.0, 80.0, 42.0, 28.0])) * rng.uniform(0.9, 1.05, 3)
    hue = float(rng.choice([0.6, 0.62, 0.0, 0.98, 0.35, 0.11, rng.uniform()]))
    return hsv_colour(hue, rng.uniform(0.35, 0.85), rng.uniform(0.2, 0.7))


def sample_glass(rng: np.random.Generator) -> Colour:
    return np.array([42.0, 52.0, 62.0]) * rng.uniform(0.6, 2.2)
