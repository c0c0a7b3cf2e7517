"""What stands beside the street: buildings, walls, trees, poles, and the skyline behind them."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from data.synthetic.camera import Camera
from data.synthetic.drawing import any_colour, fill, fill_flat, hazed, rectangles, stem
from data.synthetic.solids import COORDINATE_LIMIT, SHIFT, Light, fixed_point
from data.synthetic.street import Street
from data.synthetic.surroundings.clutter import draw_leaves


def draw_building(
    rng: np.random.Generator,
    image: np.ndarray,
    camera: Camera,
    light: Light,
    z: float,
    x: float,
    side: int,
    near: float,
    far: float,
    detailed: bool,
) -> None:
    height = rng.uniform(4.0, 22.0)
    hues = (0.0, 0.17) if rng.random() < 0.7 else (0.0, 1.0)
    tint = any_colour(rng, hues, (0.05, 0.5), (0.35, 0.95))
    front_light, end_light = light.shade(np.array([[-float(side), 0.0, 0.0], [0.0, 0.0, -1.0]])).tolist()
    back = x + side * rng.uniform(6, 14)
    left, right = min(x, back), max(x, back)

    def facade(z0: Any, z1: Any, y0: Any, y1: Any) -> Float[np.ndarray, "m 4 3"]:
        z0, z1, y0, y1 = np.broadcast_arrays(*np.atleast_1d(z0, z1, y0, y1))
        return rectangles(np.stack([np.full(len(z0), x), y0, z0], 1), np.stack([np.full(len(z0), x), y1, z1], 1))

    def end(x0: Any, x1: Any, y0: Any, y1: Any) -> Float[np.ndarray, "m 4 3"]:
        x0, x1, y0, y1 = np.broadcast_arrays(*np.atleast_1d(x0, x1, y0, y1))
        return rectangles(np.stack([x0, y0, np.full(len(x0), near)], 1), np.stack([x1, y1, np.full(len(x0), near)], 1))

    if detailed:
        tint = 0.75 * tint + 0.25 * 235.0
    if rng.random() < 0.5:
        ridge, middle = height + rng.uniform(2, 4), 0.5 * (x + back)
        slope = np.array([[[x, height, near], [x, height, far], [middle, ridge, far], [middle, ridge, near]]])
        fill(image, camera, slope, hazed(any_colour(rng, (0.0, 0.1), (0.1, 0.6), (0.2, 0.55)), z, light))
        gable = np.array([[[x, height, near], [back, height, near], [middle, ridge, near]]])
        fill(image, camera, gable, hazed(tint * end_light, z, light))
    fill(image, camera, end(left, right, 0.0, height), hazed(tint * end_light, near, light))
    fill(image, camera, facade(near, far, 0.0, height), hazed(tint * front_light, z, light))
    if rng.random() < 0.6:
        ground_floor = tint * front_light * rng.uniform(0.5, 1.2)
        fill(image, camera, facade(near, far, 0.0, rng.uniform(0.6, 3.2)), hazed(ground_floor, z, light))

    storey, bay = rng.uniform(2.7, 3.6), rng.uniform(1.8, 4.0)
    wide, high = rng.uniform(0.35, 0.75) * bay, rng.uniform(0.4, 0.65) * storey
    pane = rng.uniform(30, 110) * np.array([0.9, 1.0, 1.1]) * (0.6 + 0.4 * front_light)
    frame = tint * front_light * rng.uniform(0.6, 1.4)
    columns = np.arange(near + 0.6, far - wide - 0.3, bay)
    floors = np.arange(1.0, height - high - 0.4, storey)
    a, y = (grid.ravel() for grid in np.meshgrid(columns[columns >= 1.0], floors))
    if rng.random() < 0.5 and far < 60:
        framed = facade(a - 0.12, a + wide + 0.12, y - 0.12, y + high + 0.12)
        fill(image, camera, framed, hazed(frame, z, light))
    fill(image, camera, facade(a, a + wide, y, y + high), hazed(pane, z, light))
    if detailed:
        # Curtains and blinds, reflections, a cornice, and shop windows with doors on the ground floor.
        for part, shade in ((rng.random(len(a)) < 0.35, 2.2), (rng.random(len(a)) < 0.3, 1.4)):
            low = y[part] + high * rng.uniform(0.0, 0.6)
            fill(image, camera, facade(a[part], a[part] + wide, low, y[part] + high), hazed(pane * shade, z, light))
        fill(image, camera, facade(near, far, height - 0.35, height), hazed(tint * front_light * 0.75, z, light))
        doors = np.arange(near + 1.0, far - 2.0, rng.uniform(3.5, 8.0))
        if len(doors) and rng.random() < 0.6:
            shop = rng.uniform(1.2, 3.0)
            fill(image, camera, facade(doors, doors + shop, 0.4, 2.5), hazed(pane * 0.8, z, light))
            sign = any_colour(rng, (0.0, 1.0), (0.1, 0.7), (0.3, 0.9))
            fill(image, camera, facade(doors, doors + shop, 2.6, 3.1), hazed(sign * front_light, z, light))
        fill(image, camera, facade(doors, doors + 0.95, 0.0, 2.2), hazed(frame * 0.5, z, light))
    if near > 2:
        a, y = (grid.ravel() for grid in np.meshgrid(np.arange(left + 0.8, right - wide, bay * 1.2), floors))
        fill(image, camera, end(a, a + wide, y, y + high), hazed(pane, near, light))


def draw_wall(
    rng: np.random.Generator,
    image: np.ndarray,
    camera: Camera,
    light: Light,
    z: float,
    x: float,
    street: Street,
    near: float,
    far: float,
) -> None:
    """A hedge, a fence or a wall along the street."""
    height = rng.uniform(0.6, 2.2)
    green = rng.random() < 0.5
    colour = (
        any_colour(rng, (0.2, 0.4), (0.3, 0.7), (0.15, 0.45))
        if green
        else any_colour(rng, (0.0, 1.0), (0.0, 0.3), (0.3, 0.8))
    )
    for a, b in reversed(list(itertools.pairwise(np.linspace(near, far, 9)))):
        xa, xb = x + street.shift(a), x + street.shift(b)
        tops = height * (rng.uniform(0.9, 1.1, 2) if green else np.ones(2))
        quad = np.array([[[xa, 0, a], [xb, 0, b], [xb, tops[1], b], [xa, tops[0], a]]])
        fill(image, camera, quad, hazed(colour * rng.uniform(0.85, 1.05), a, light))


def draw_tree(
    rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float, detailed: bool
) -> None:
    scale = camera.focal / z
    height, spread = rng.uniform(3.5, 10.0), rng.uniform(1.2, 3.2)
    foot, crown = camera.project(np.array([[x, 0.0, z], [x, 0.62 * height, z]]))
    half = rng.uniform(0.1, 0.25) * scale
    trunk = any_colour(rng, (0.03, 0.12), (0.2, 0.5), (0.15, 0.4))
    fill_flat(image, stem(foot, crown, half, 0.6 * half), hazed(trunk, z, light))
    autumn = rng.random() < 0.15
    leaf = any_colour(rng, (0.02, 0.13) if autumn else (0.14, 0.38), (0.2, 0.75), (0.25, 0.7))
    count = int(np.clip(140 * 20 / z, 25, 140))
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    px = crown[0] + np.cos(angle) * reach * spread * scale
    py = crown[1] - 0.1 * height * scale + np.sin(angle) * reach * 0.33 * height * scale
    radius = rng.uniform(0.1, 0.32, count) * spread * scale
    brightness = 0.55 + 0.45 * (crown[1] - py) / max(0.4 * height * scale, 1e-3) + rng.uniform(-0.2, 0.2, count)
    clear = float(np.exp(-z / light.visibility))
    colours = clear * leaf * np.clip(brightness, 0.25, 1.2)[:, None] + (1 - clear) * light.haze
    centres = np.round(np.clip(np.stack([px, py], axis=1), -COORDINATE_LIMIT, COORDINATE_LIMIT) * (1 << SHIFT))
    radii = np.maximum(np.round(radius * (1 << SHIFT)), 8)
    if detailed:
        colours *= 0.5
    # Later leaves lie over earlier ones: the lit upper ones come last.
    for i in np.argsort(brightness):
        cv2.circle(image, centres[i].astype(int), int(radii[i]), colours[i].tolist(), -1, cv2.LINE_AA, SHIFT)
    if detailed:
        middle = (float(crown[0]), float(crown[1] - 0.1 * height * scale))
        size = (1.1 * spread * scale, 0.36 * height * scale)
        lit = np.array(hazed(leaf, z, light))
        draw_leaves(rng, image, middle, size, lit, 0.09 * scale, int(np.clip(24_000 / z, 60, 1800)))


def draw_pole(
    rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float, side: int
) -> None:
    """A lamp, a traffic sign or a traffic light."""
    kind = rng.choice(["lamp", "sign", "signal"])
    height = rng.uniform(5, 8) if kind == "lamp" else rng.uniform(2.3, 3.3)
    scale = camera.focal / z
    foot, top = camera.project(np.array([[x, 0.0, z], [x, height, z]]))
    half = max(rng.uniform(0.03, 0.08) * scale, 0.35)
    grey = hazed(np.full(3, rng.uniform(40, 170)), z, light)
    fill_flat(image, stem(foot, top, half, half), grey)
    if kind == "lamp":
        arm = np.array(
            [
                [0, half],
                [0, -half],
                [-side * 1.2 * scale, -0.2 * scale - half],
                [-side * 1.2 * scale, half - 0.2 * scale],
            ]
        )
        fill_flat(image, top + arm, grey)
    elif kind == "sign":
        sides = int(rng.choice([3, 4, 16]))
        angles = np.arange(sides) * 2 * np.pi / sides + rng.choice([np.pi / 2, np.pi / 4])
        corners = np.stack([np.cos(angles), -np.sin(angles)], axis=1) * scale
        fill_flat(image, top + 0.36 * corners, hazed(any_colour(rng, (0.0, 1.0), (0.6, 1.0), (0.6, 0.95)), z, light))
        fill_flat(image, top + 0.24 * corners, hazed(np.full(3, 235.0), z, light))
    else:
        box = np.array([[-0.15, -0.45], [0.15, -0.45], [0.15, 0.45], [-0.15, 0.45]]) * scale
        fill_flat(image, top + box, hazed(np.full(3, 28.0), z, light))
        lamp = int(rng.integers(3))
        angles = np.arange(12) * np.pi / 6
        disc = 0.1 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + [0.0, 0.28 * (lamp - 1)]
        fill_flat(image, top + disc * scale, ([230.0, 40.0, 30.0], [240.0, 180.0, 40.0], [40.0, 210.0, 90.0])[lamp])


def draw_skyline(rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, *, wooded: bool) -> None:
    """Hills, woods or roofs far away: a ragged band over the horizon."""
    knots = int(rng.integers(30, 120) if wooded else rng.integers(4, 40))
    heights = rng.uniform(0.0, 1.0, knots) * rng.uniform(0.02, 0.1 if wooded else 0.25) * camera.height
    columns = np.arange(camera.width + 2)
    places = np.linspace(0, camera.width + 1, knots)
    if rng.random() < 0.3:
        profile = heights[np.minimum(columns * knots // (camera.width + 2), knots - 1)]
    else:
        profile = np.interp(columns, places, heights) + rng.uniform(0, 0.01 * camera.height, len(columns))
    base = (
        any_colour(rng, (0.15, 0.45), (0.1, 0.5), (0.15, 0.55))
        if rng.random() < 0.7
        else any_colour(rng, (0.0, 1.0), (0.0, 0.2), (0.3, 0.7))
    )
    colour = 0.55 * base + 0.45 * light.haze
    foot = camera.horizon + 0.02 * camera.height
    outline = np.concatenate(
        [[[0, foot]], np.stack([columns, camera.horizon - profile], axis=1), [[camera.width + 1, foot]]]
    )
    cv2.fillPoly(image, [fixed_point(outline)], colour.tolist(), cv2.LINE_AA, SHIFT)
