"""The street without its objects: ground, sky, skyline, buildings, trees and poles, different in every scene."""

from __future__ import annotations

import colorsys
import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from data.synthetic.camera import Camera
from data.synthetic.clutter import clutter, draw_leaves
from data.synthetic.drawing import any_colour, fill, fill_flat, hazed, noise, rectangles, stem
from data.synthetic.solids import COORDINATE_LIMIT, SHIFT, Light, fixed_point

Image = Float[np.ndarray, "H W 3"]
"""RGB, 0..255"""


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
        _draw_skyline(rng, image, camera, light, wooded=detailed)
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


def _draw_skyline(rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, *, wooded: bool) -> None:
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
                    things.append((z + 0.5 * depth, _draw_building, (x, side, z, z + depth, detailed)))
                z += depth + (rng.uniform(2, 14) if rng.random() < 0.35 else 0.0)
        for _ in range(int(rng.integers(0, 14) * rng.random())):
            z = rng.uniform(6, 90)
            x = edge + side * rng.uniform(-0.3, setback + 2.0) + street.shift(z)
            things.append((z, _draw_tree, (x, detailed)))
        if rng.random() < 0.35:
            z0, z1 = rng.uniform(3, 20), rng.uniform(25, 80)
            x = edge + side * rng.uniform(0.0, 0.8)
            things.append((0.5 * (z0 + z1), _draw_wall, (x, street, z0, z1)))
        for _ in range(rng.integers(0, 5)):
            z = rng.uniform(7, 60)
            x = edge - side * rng.uniform(-0.5, 0.4) + street.shift(z)
            things.append((z, _draw_pole, (x, side)))
    return things


def _draw_building(
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


def _draw_wall(
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


def _draw_tree(
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


def _draw_pole(
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
