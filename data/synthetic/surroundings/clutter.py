"""What else stands about in a street: things of no class, some of which look like parts of the objects."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from data.synthetic.camera import Camera
from data.synthetic.drawing import any_colour, fill, fill_flat, hazed, stem
from data.synthetic.solids import COORDINATE_LIMIT, SHIFT, Light

Thing = tuple[float, Any, tuple]
"""Depth, the function that draws it, and where: (rng, image, camera, light, depth, *where)."""


def clutter(rng: np.random.Generator, street: Any) -> list[Thing]:
    """Bushes, bins, bollards, bicycles, columns of posters and shelters along both sides of a `Street`."""
    things: list[Thing] = []
    for side, kerb in ((-1, street.left_edge), (1, street.right_edge)):
        back = kerb + side * street.pavement

        def add(draw: Any, across: float, z: float, *where: Any) -> None:
            things.append((z, draw, (across + street.shift(z), *where)))

        for _ in range(rng.poisson(5)):
            add(_draw_bush, back + side * rng.uniform(-0.2, 4.0), rng.uniform(7, 70))
        for _ in range(rng.poisson(1.0)):
            z, colour = rng.uniform(7, 40), any_colour(rng, (0.1, 0.6), (0.0, 0.7), (0.15, 0.6))
            for place in range(rng.integers(1, 4)):
                add(_draw_block, back - side * 0.4, z + 0.8 * place, 0.55, rng.uniform(0.9, 1.2), colour)
        if rng.random() < 0.3:
            start, height = rng.uniform(6, 25), rng.uniform(0.7, 1.0)
            for z in start + rng.uniform(1.2, 2.5) * np.arange(rng.integers(4, 12)):
                add(_draw_bollard, kerb + side * 0.35, float(z), height)
        if rng.random() < 0.4:
            z = rng.uniform(8, 35)
            for place in range(rng.integers(1, 6)):
                add(_draw_bicycle, back - side * rng.uniform(0.3, 0.8), z + 0.6 * place, side)
        if rng.random() < 0.25:
            colour = any_colour(rng, (0.0, 1.0), (0.2, 0.8), (0.4, 0.9))
            add(_draw_block, kerb + side * rng.uniform(0.8, 1.5), rng.uniform(9, 40), 1.2, 2.7, colour)
        if rng.random() < 0.2:
            add(_draw_shelter, back - side * 0.7, rng.uniform(10, 40), side)
    return things


def draw_leaves(
    rng: np.random.Generator,
    image: np.ndarray,
    middle: tuple[float, float],
    reach: tuple[float, float],
    leaf: np.ndarray,
    size: float,
    count: int,
) -> None:
    """An ellipse of leaves, the upper ones lit; all lengths in pixels, the colour as hazed already."""
    angle, far = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    offset = np.stack([np.cos(angle), np.sin(angle)], axis=1) * far[:, None]
    brightness = 0.62 - 0.28 * offset[:, 1] + rng.uniform(-0.25, 0.25, count)
    # A wavy rim: no leaf lies on the ellipse itself.
    offset *= (0.85 + 0.15 * np.sin(angle * rng.integers(5, 9) + rng.uniform(0, 6)))[:, None]
    centres = np.clip(np.array(middle) + offset * reach, -COORDINATE_LIMIT, COORDINATE_LIMIT) * (1 << SHIFT)
    radii = np.maximum(np.round(size * rng.uniform(0.5, 1.3, count) * (1 << SHIFT)), 8).astype(int)
    colours = np.clip(leaf * brightness[:, None], 0, 255)
    for i in np.argsort(brightness + rng.uniform(-0.3, 0.3, count)):
        cv2.circle(image, centres[i].astype(int), int(radii[i]), colours[i].tolist(), -1, cv2.LINE_AA, SHIFT)


def _draw_bush(rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float) -> None:
    height, half = rng.uniform(0.5, 2.0), rng.uniform(0.5, 1.8)
    scale = camera.focal / z
    foot = camera.project(np.array([[x, 0.0, z]]))[0]
    leaf = np.array(hazed(any_colour(rng, (0.17, 0.33), (0.3, 0.65), (0.2, 0.5)), z, light))
    middle = (float(foot[0]), float(foot[1] - 0.5 * height * scale))
    reach = (half * scale, 0.55 * height * scale)
    draw_leaves(rng, image, middle, reach, 0.5 * leaf, 0.3 * height * scale, 25)
    draw_leaves(rng, image, middle, reach, leaf, 0.09 * scale, int(np.clip(2500 / z, 30, 260)))


def _draw_block(
    rng: np.random.Generator,
    image: np.ndarray,
    camera: Camera,
    light: Light,
    z: float,
    x: float,
    width: float,
    height: float,
    colour: np.ndarray,
) -> None:
    """A bin, a box of the telephone company, a column for posters."""
    half = 0.5 * width
    inner = x - np.sign(x) * half
    front = np.array([[[x - half, 0, z], [x + half, 0, z], [x + half, height, z], [x - half, height, z]]])
    side = np.array([[[inner, 0, z], [inner, 0, z + width], [inner, height, z + width], [inner, height, z]]])
    fill(image, camera, side, hazed(0.6 * colour, z, light))
    fill(image, camera, front, hazed(colour * light.ambient * 1.2, z, light))
    if height > 2.0:
        for low in np.arange(0.5, height - 0.6, 0.75):
            poster = front * [1, 0, 1] + np.array([0, 1, 0]) * np.array([low, low, low + 0.65, low + 0.65])[:, None]
            fill(image, camera, poster, hazed(any_colour(rng, (0.0, 1.0), (0.1, 0.8), (0.4, 0.95)), z, light))
    else:
        lid = front * [1, 0, 1] + np.array([0, 1, 0]) * (height * np.array([0.9, 0.9, 1.0, 1.0]))[:, None]
        fill(image, camera, lid, hazed(0.5 * colour, z, light))


def _draw_bollard(
    rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float, height: float
) -> None:
    foot, top = camera.project(np.array([[x, 0.0, z], [x, height, z]]))
    half = 0.06 * camera.focal / z
    fill_flat(image, stem(foot, top, half, half), hazed(np.full(3, 70.0), z, light))
    band = foot + 0.8 * (top - foot)
    fill_flat(image, stem(band, top, half, half), hazed(np.array([200.0, 60.0, 50.0]), z, light))


def _draw_bicycle(
    rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float, side: int
) -> None:
    """One that nobody rides, parked across the pavement."""
    scale = camera.focal / z
    foot = camera.project(np.array([[x, 0.0, z]]))[0]

    def at(across: float, up: float) -> np.ndarray:
        point = np.clip(foot + np.array([-side * across, -up]) * scale, -COORDINATE_LIMIT, COORDINATE_LIMIT)
        return np.round(point * (1 << SHIFT)).astype(int)

    dark, frame = (
        hazed(np.full(3, 35.0), z, light),
        hazed(any_colour(rng, (0, 1), (0.1, 0.9), (0.2, 0.8)), z, light),
    )
    thick = max(1, round(0.04 * scale))
    for hub in (0.0, 1.0):
        radius = int(max(0.33 * scale, 1.0) * (1 << SHIFT))
        cv2.circle(image, at(hub, 0.34), radius, dark, thick, cv2.LINE_AA, SHIFT)
    saddle, crank, bar = (0.3, 0.9), (0.45, 0.3), (0.85, 0.95)
    for a, b in ((saddle, crank), (crank, bar), (saddle, bar), (saddle, (0.0, 0.34)), (bar, (1.0, 0.34))):
        cv2.line(image, at(*a), at(*b), frame, thick, cv2.LINE_AA, SHIFT)


def _draw_shelter(
    rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float, side: int
) -> None:
    """Where one waits for a bus: glass on posts under a flat roof."""
    length, height = rng.uniform(3, 5), 2.4
    grey = hazed(np.full(3, rng.uniform(50, 120)), z, light)
    wall = np.array([[[x, 0.3, z], [x, 0.3, z + length], [x, height, z + length], [x, height, z]]])
    fill(image, camera, wall, hazed(light.haze * 0.7, z, light))
    for place in np.linspace(z, z + length, 4):
        foot, head = camera.project(np.array([[x, 0.0, place], [x, height, place]]))
        half = max(0.04 * camera.focal / place, 0.3)
        fill_flat(image, stem(foot, head, half, half), grey)
    eave = x - side * 1.3
    top = height + 0.15
    edge = np.array([[[eave, height, z], [eave, height, z + length], [eave, top, z + length], [eave, top, z]]])
    front = np.array([[[x, height, z], [eave, height, z], [eave, top, z], [x, top, z]]])
    fill(image, camera, np.concatenate([edge, front]), grey)
