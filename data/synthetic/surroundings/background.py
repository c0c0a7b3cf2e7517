"""The street without its objects: ground, sky, skyline, buildings, trees and poles, different in every scene."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from jaxtyping import Float

from data.synthetic.camera import Camera
from data.synthetic.drawing import any_colour, noise
from data.synthetic.solids import Light
from data.synthetic.street import Street
from data.synthetic.surroundings.buildings import draw_building, draw_pole, draw_skyline, draw_tree, draw_wall
from data.synthetic.surroundings.clutter import clutter

Image = Float[np.ndarray, "H W 3"]
"""RGB, 0..255"""


def draw_background(
    rng: np.random.Generator, camera: Camera, street: Street, light: Light, *, detailed: bool = False
) -> Image:
    """A street without objects.

    Args:
        rng: of everything that is drawn.
        camera: sees it.
        street: what lies where.
        light: falls on it.
        detailed: with shadows of what stands beside the street, leaves, shop windows and clutter.
    """
    canvas = np.empty((camera.height, camera.width, 3), np.float32)
    ground_top = int(np.clip(np.ceil(camera.horizon), 1, camera.height - 1))
    _draw_sky(rng, canvas[: ground_top + 1], light)
    _draw_ground(rng, canvas[ground_top:], ground_top, camera, street, light)
    if detailed:
        _shade_ground(rng, canvas[ground_top:], ground_top, camera, street, light)
    # From here on the drawing is OpenCV's, which smooths edges on 8-bit images only.
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(1, 4)):
        draw_skyline(rng, image, camera, light, wooded=detailed)
    things = _verge(rng, street, detailed)
    if detailed:
        things += clutter(rng, street)
    for z, draw, place in sorted(things, key=lambda thing: -thing[0]):
        draw(rng, image, camera, light, z, *place)
    return image.astype(np.float32)


def _draw_sky(rng: np.random.Generator, canvas: Image, light: Light) -> None:
    height, width = canvas.shape[:2]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** rng.uniform(0.6, 1.6)
    canvas[:] = light.sky * (1 - down) * rng.uniform(0.75, 1.0) + light.haze * down
    clouds = sum(
        noise(rng, height, width, cells, cells * 4) / weight
        for cells, weight in ((2, 1.0), (4, 2.0), (9, 4.0), (20, 8.0))
    )
    cover = np.clip((clouds + rng.uniform(-1.0, 0.6)) * rng.uniform(0.8, 2.5), 0, 1)[..., None]
    canvas += cover * rng.uniform(0.3, 1.0) * (rng.uniform(185, 255) - canvas)


def _on_the_ground(
    canvas: Image, top: int, camera: Camera, street: Street
) -> tuple[Float[np.ndarray, "H 1"], Float[np.ndarray, "H W"]]:
    """The depth of each row of a canvas that begins in row `top`, and where across the street its pixels lie."""
    rows, columns = canvas.shape[:2]
    below = np.maximum(np.arange(top, top + rows, dtype=np.float32) + 0.5 - camera.horizon, 0.3)
    z = (camera.focal * camera.elevation / below)[:, None]
    across = (np.arange(columns, dtype=np.float32) + 0.5 - camera.centre_x)[None, :] * z / camera.focal
    return z, across - street.shift(z)


def _draw_ground(
    rng: np.random.Generator, canvas: Image, top: int, camera: Camera, street: Street, light: Light
) -> None:
    """Every ground pixel is traced back to its place on the ground, whose material it takes."""
    z, x = _on_the_ground(canvas, top, camera, street)
    x = x.astype(np.float32)

    asphalt = np.full(3, rng.uniform(60, 150)) * rng.uniform(0.94, 1.06, 3)
    if rng.random() < 0.15:
        asphalt = any_colour(rng, (0.02, 0.12), (0.1, 0.35), (0.35, 0.6))
    pavement = np.full(3, rng.uniform(110, 190)) * rng.uniform(0.9, 1.1, 3)
    if rng.random() < 0.3:
        pavement = any_colour(rng, (0.0, 0.1), (0.15, 0.45), (0.4, 0.75))
    green = any_colour(rng, (0.17, 0.36), (0.25, 0.65), (0.2, 0.6))
    outside = green if rng.random() < 0.6 else pavement * rng.uniform(0.7, 1.1)
    paint = np.full(3, rng.uniform(170, 250))
    if rng.random() < 0.15:
        paint = np.array([225.0, 190.0, 60.0])
    materials = np.stack([asphalt, pavement, outside, pavement * rng.uniform(0.6, 1.3), paint, asphalt * 0.45])
    road, walk, beyond, kerb, painted, rail = range(len(materials))

    material = np.full(x.shape, road, np.uint8)
    material[(x < street.left_edge) | (x > street.right_edge)] = walk
    material[(x < street.left_edge - street.pavement) | (x > street.right_edge + street.pavement)] = beyond
    material[np.minimum(np.abs(x - street.left_edge), np.abs(x - street.right_edge)) < 0.1] = kerb
    if rng.random() < 0.85:
        period, phase = rng.uniform(4, 12), rng.uniform(0, 12)
        for a, b in itertools.pairwise(street.lanes):
            dashes = (z + phase) % period < rng.choice([0.35, 0.5, 0.6, 1.0]) * period
            material[(np.abs(x - 0.5 * (a + b)) < 0.08) & dashes] = painted
    if rng.random() < 0.2:
        start = rng.uniform(7, 20)
        material[(z > start) & (z < start + 3) & (material == road) & (x % 1.0 < 0.5)] = painted
    if rng.random() < 0.25:
        lane = street.lanes[rng.integers(len(street.lanes))]
        for place in (lane - 0.72, lane + 0.72):
            material[np.abs(x - place) < 0.06] = rail

    factor = np.ones(x.shape, np.float32)
    tile = rng.standard_normal((128, 128), dtype=np.float32)
    # The same random tile serves as noise at several scales; what is finer than a pixel fades with depth.
    for scale, strength in ((12.0, 0.06), (3.0, 0.05), (0.5, 0.02)):
        soft = cv2.GaussianBlur(tile, (0, 0), min(scale * 0.5, 4.0), borderType=cv2.BORDER_REFLECT)
        down = np.broadcast_to(z * np.float32(scale * 0.5), x.shape)
        pattern = cv2.remap(soft, x * np.float32(scale), down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        factor += pattern * (rng.uniform(0.3, 1.5) * strength / float(soft.std()) / (1 + z * 0.02 * scale))
    if rng.random() < 0.4:
        joints = ((x % 0.9 < 0.06) | (z % 0.9 < 0.06)) & (material == walk)
        factor -= joints * (0.18 / (1 + z * 0.12))
    for _ in range(rng.integers(0, 5)):
        # Worn patches, wet spots, shadows of trees.
        across_spot = np.square(np.square((x - rng.uniform(-8, 8)) / rng.uniform(0.4, 3.0)))
        along_spot = np.square(np.square((z - rng.uniform(4, 35)) / rng.uniform(0.8, 6.0)))
        factor *= 1 - rng.uniform(-0.12, 0.35) * np.exp(-across_spot - along_spot)
    factor *= light.ambient + (1 - light.ambient) * max(0.35, float(light.direction[1]))
    clear = np.exp(-z / (1.5 * light.visibility))
    canvas[:] = materials.astype(np.float32)[material]
    canvas *= (factor * clear)[..., None]
    canvas += light.haze.astype(np.float32) * (1 - clear[..., None])


def _shade_ground(
    rng: np.random.Generator, canvas: Image, top: int, camera: Camera, street: Street, light: Light
) -> None:
    """Shadows of the buildings and trees on the sun's side, ragged along the street."""
    z, x = _on_the_ground(canvas, top, camera, street)
    side = 1 if light.direction[0] > 0 else -1
    edge = street.right_edge if side > 0 else -street.left_edge
    slant = abs(float(light.direction[0])) / max(float(light.direction[1]), 0.2)
    reach = min(slant * rng.uniform(1.0, 8.0), 9.0)
    tile = cv2.GaussianBlur(rng.standard_normal((128, 128), dtype=np.float32), (0, 0), 2.0)
    ragged = cv2.remap(
        tile / float(tile.std()),
        x * np.float32(2.0),
        np.broadcast_to(z * np.float32(1.2), x.shape),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    # Buildings of their own heights, and gaps between them.
    wave = np.sin(z * rng.uniform(0.15, 0.4) + rng.uniform(0, 2 * np.pi)) - rng.uniform(-0.9, 0.3)
    blocks = 0.35 + 0.65 * np.clip(0.5 + 1.5 * wave, 0, 1)
    depth = side * x - (edge + street.pavement - reach * blocks) + 0.9 * ragged
    shade = np.clip(depth / (0.15 + 0.01 * z), 0, 1)
    canvas *= (1 - 0.9 * (1 - light.ambient) * shade)[..., None]
    # The grain of asphalt and the joints of stones, which fade with depth.
    grain = rng.standard_normal(x.shape, dtype=np.float32)
    canvas *= (1 + rng.uniform(0.04, 0.09) * grain / (1 + 0.08 * z))[..., None]


def _verge(rng: np.random.Generator, street: Street, detailed: bool) -> list[tuple]:
    """What stands along both sides: (depth, how to draw it, where), the order by depth being the caller's."""
    things: list[tuple] = []
    for side, edge in ((-1, street.left_edge - street.pavement), (1, street.right_edge + street.pavement)):
        setback = rng.uniform(0.3, 9.0) if street.frontage is None else street.frontage[side > 0]
        if rng.random() < 0.75:
            z = rng.uniform(-12, 10)
            while z < 110:
                depth = rng.uniform(7, 26)
                if rng.random() < 0.85:
                    x = edge + side * (setback + rng.uniform(0, 2)) + street.shift(max(z, 0.0))
                    things.append((z + 0.5 * depth, draw_building, (x, side, z, z + depth, detailed)))
                z += depth + (rng.uniform(2, 14) if rng.random() < 0.35 else 0.0)
        for _ in range(int(rng.integers(0, 14) * rng.random())):
            z = rng.uniform(6, 90)
            x = edge + side * rng.uniform(-0.3, setback + 2.0) + street.shift(z)
            things.append((z, draw_tree, (x, detailed)))
        if rng.random() < 0.35:
            z0, z1 = rng.uniform(3, 20), rng.uniform(25, 80)
            x = edge + side * rng.uniform(0.0, 0.8)
            things.append((0.5 * (z0 + z1), draw_wall, (x, street, z0, z1)))
        for _ in range(rng.integers(0, 5)):
            z = rng.uniform(7, 60)
            x = edge - side * rng.uniform(-0.5, 0.4) + street.shift(z)
            things.append((z, draw_pole, (x, side)))
    return things
