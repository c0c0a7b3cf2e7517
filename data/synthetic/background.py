"""The street without its objects: ground, sky, skyline, buildings, trees and poles, different in every scene."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from data.synthetic.camera import Camera, clip_to_near_plane
from data.synthetic.solids import SHIFT, Light, fixed_point

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

    def shift(self, z: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n"] | float:
        return self.bend * z * z


def sample_street(rng: np.random.Generator) -> Street:
    lane = rng.uniform(2.9, 3.7)
    left, right = int(rng.integers(1, 3)), int(rng.integers(0, 2))
    lanes = tuple(lane * k for k in range(-left, right + 1))
    parking = rng.uniform(0.0, 2.2, 2)
    return Street(
        lanes=lanes,
        left_edge=lanes[0] - lane / 2 - parking[0],
        right_edge=lanes[-1] + lane / 2 + parking[1],
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
        direction=np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(elevation), np.sin(azimuth) * np.cos(elevation)]
        ),
        ambient=rng.uniform(0.7, 0.9) if overcast else rng.uniform(0.35, 0.65),
        sky=sky,
        haze=0.6 * sky + 0.4 * 215.0,
        visibility=float(np.exp(rng.uniform(np.log(90), np.log(900)))),
    )


def draw_background(rng: np.random.Generator, camera: Camera, street: Street, light: Light) -> Image:
    canvas = np.empty((camera.height, camera.width, 3), np.float32)
    ground_top = int(np.clip(np.ceil(camera.horizon), 1, camera.height - 1))
    _draw_sky(rng, canvas[: ground_top + 1], light)
    _draw_ground(rng, canvas[ground_top:], ground_top, camera, street, light)
    # From here on the drawing is OpenCV's, which smooths edges on 8-bit images only.
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(1, 4)):
        _draw_skyline(rng, image, camera, light)
    things = _verge(rng, street)
    for z, draw, place in sorted(things, key=lambda thing: -thing[0]):
        draw(rng, image, camera, light, z, *place)
    return image.astype(np.float32)


def _noise(rng: np.random.Generator, height: int, width: int, cells_y: int, cells_x: int) -> Float[np.ndarray, "h w"]:
    """Smooth noise in -1..1 with about this many bumps down and across."""
    coarse = rng.uniform(-1, 1, (max(cells_y, 1) + 1, max(cells_x, 1) + 1)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _colour(
    rng: np.random.Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    return 255.0 * np.array(colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)))


def _draw_sky(rng: np.random.Generator, canvas: Image, light: Light) -> None:
    height, width = canvas.shape[:2]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** rng.uniform(0.6, 1.6)
    canvas[:] = light.sky * (1 - down) * rng.uniform(0.75, 1.0) + light.haze * down
    clouds = sum(
        _noise(rng, height, width, cells, cells * 4) / weight
        for cells, weight in ((2, 1.0), (4, 2.0), (9, 4.0), (20, 8.0))
    )
    cover = np.clip((clouds + rng.uniform(-1.0, 0.6)) * rng.uniform(0.8, 2.5), 0, 1)[..., None]
    canvas += cover * rng.uniform(0.3, 1.0) * (rng.uniform(185, 255) - canvas)


def _draw_ground(
    rng: np.random.Generator, canvas: Image, top: int, camera: Camera, street: Street, light: Light
) -> None:
    """Every ground pixel is traced back to its place on the ground, whose material it takes."""
    rows, columns = canvas.shape[:2]
    below = np.maximum(np.arange(top, top + rows, dtype=np.float32) + 0.5 - camera.horizon, 0.3)
    z = (camera.focal * camera.elevation / below)[:, None]
    across = (np.arange(columns, dtype=np.float32) + 0.5 - camera.centre_x)[None, :] * z / camera.focal
    x = across - street.shift(z).astype(np.float32)
    z = np.broadcast_to(z, x.shape)

    asphalt = np.full(3, rng.uniform(60, 150)) * rng.uniform(0.94, 1.06, 3)
    if rng.random() < 0.15:
        asphalt = _colour(rng, (0.02, 0.12), (0.1, 0.35), (0.35, 0.6))
    pavement = np.full(3, rng.uniform(110, 190)) * rng.uniform(0.9, 1.1, 3)
    if rng.random() < 0.3:
        pavement = _colour(rng, (0.0, 0.1), (0.15, 0.45), (0.4, 0.75))
    green = _colour(rng, (0.17, 0.36), (0.25, 0.65), (0.2, 0.6))
    outside = green if rng.random() < 0.6 else pavement * rng.uniform(0.7, 1.1)

    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = asphalt
    walk = (x < street.left_edge) | (x > street.right_edge)
    beyond = (x < street.left_edge - street.pavement) | (x > street.right_edge + street.pavement)
    colour[walk] = pavement
    colour[beyond] = outside
    kerb = np.minimum(np.abs(x - street.left_edge), np.abs(x - street.right_edge)) < 0.1
    colour[kerb] = pavement * rng.uniform(0.6, 1.3)

    paint = np.full(3, rng.uniform(170, 250), np.float32)
    if rng.random() < 0.15:
        paint = np.array([225, 190, 60], np.float32)
    if rng.random() < 0.85 and len(street.lanes) > 1:
        period, phase = rng.uniform(4, 12), rng.uniform(0, 12)
        for a, b in zip(street.lanes[:-1], street.lanes[1:]):
            dashed = (
                ((z + phase) % period) < rng.uniform(0.35, 0.6) * period if rng.random() < 0.75 else np.ones_like(walk)
            )
            colour[(np.abs(x - 0.5 * (a + b)) < 0.08) & dashed] = paint
    if rng.random() < 0.2:
        start = rng.uniform(7, 20)
        zebra = (z > start) & (z < start + 3) & ~walk & ((x % 1.0) < 0.5)
        colour[zebra] = paint
    if rng.random() < 0.25:
        lane = street.lanes[rng.integers(len(street.lanes))]
        for rail in (lane - 0.72, lane + 0.72):
            colour[np.abs(x - rail) < 0.06] = asphalt * 0.45

    factor = np.ones(x.shape, np.float32)
    tile = rng.standard_normal((256, 256), dtype=np.float32)
    # The same random tile serves as noise at several scales; what is finer than a pixel fades with depth.
    for scale, strength in ((12.0, 0.06), (3.0, 0.05), (0.5, 0.02)):
        soft = cv2.GaussianBlur(tile, (0, 0), scale * 0.5, borderType=cv2.BORDER_REFLECT)
        soft /= max(float(soft.std()), 1e-6)
        map_x = ((x * scale) % 255).astype(np.float32)
        map_z = ((z * scale * 0.5) % 255).astype(np.float32)
        pattern = cv2.remap(soft, map_x, map_z, cv2.INTER_LINEAR)
        factor += rng.uniform(0.3, 1.5) * strength * pattern / (1 + z * 0.02 * scale)
    if rng.random() < 0.4:
        joints = ((x % 0.9) < 0.06) | ((z % 0.9) < 0.06)
        factor -= 0.18 * (joints & walk & ~beyond) / (1 + z * 0.12)
    for _ in range(rng.integers(0, 5)):
        # Worn patches, wet spots, shadows of trees.
        px, pz = rng.uniform(-8, 8), rng.uniform(4, 35)
        sx, sz = rng.uniform(0.4, 3.0), rng.uniform(0.8, 6.0)
        spot = np.exp(-(((x - px) / sx) ** 4) - ((z - pz) / sz) ** 4)
        factor *= 1 - rng.uniform(-0.12, 0.35) * spot
    factor *= light.ambient + (1 - light.ambient) * max(0.35, float(light.direction[1]))
    colour *= factor[..., None]
    clear = np.exp(-z / (1.5 * light.visibility))[..., None]
    canvas[:] = colour * clear + light.haze.astype(np.float32) * (1 - clear)


def _draw_skyline(rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light) -> None:
    """Hills, woods or roofs far away: a ragged band over the horizon."""
    knots = int(rng.integers(4, 40))
    heights = rng.uniform(0.0, 1.0, knots) * rng.uniform(0.02, 0.25) * camera.height
    columns = np.arange(camera.width + 2)
    places = np.linspace(0, camera.width + 1, knots)
    if rng.random() < 0.3:
        profile = heights[np.minimum(columns * knots // (camera.width + 2), knots - 1)]
    else:
        profile = np.interp(columns, places, heights) + rng.uniform(0, 0.01 * camera.height, len(columns))
    base = (
        _colour(rng, (0.15, 0.45), (0.1, 0.5), (0.15, 0.55))
        if rng.random() < 0.7
        else _colour(rng, (0, 1), (0, 0.2), (0.3, 0.7))
    )
    colour = 0.55 * base + 0.45 * light.haze
    foot = camera.horizon + 0.02 * camera.height
    outline = np.concatenate(
        [[[0, foot]], np.stack([columns, camera.horizon - profile], axis=1), [[camera.width + 1, foot]]]
    )
    cv2.fillPoly(image, [fixed_point(outline)], colour.tolist(), cv2.LINE_AA, SHIFT)


def _verge(rng: np.random.Generator, street: Street) -> list[tuple]:
    """What stands along both sides: (depth, how to draw it, where), the order by depth being the caller's."""
    things: list[tuple] = []
    for side, edge in ((-1, street.left_edge - street.pavement), (1, street.right_edge + street.pavement)):
        setback = rng.uniform(0.3, 9.0)
        if rng.random() < 0.75:
            z = rng.uniform(-12, 10)
            while z < 110:
                depth = rng.uniform(7, 26)
                if rng.random() < 0.85:
                    x = edge + side * (setback + rng.uniform(0, 2)) + street.shift(max(z, 0.0))
                    things.append((z + 0.5 * depth, _draw_building, (x, side, z, z + depth)))
                z += depth + (rng.uniform(2, 14) if rng.random() < 0.35 else 0.0)
        for _ in range(int(rng.integers(0, 14) * rng.random())):
            z = rng.uniform(6, 90)
            x = edge + side * rng.uniform(-0.3, setback + 2.0) + street.shift(z)
            things.append((z, _draw_tree, (x,)))
        if rng.random() < 0.35:
            z0, z1 = rng.uniform(3, 20), rng.uniform(25, 80)
            x = edge + side * rng.uniform(0, 0.8)
            things.append((0.5 * (z0 + z1), _draw_wall, (x, street, z0, z1)))
        for _ in range(rng.integers(0, 5)):
            z = rng.uniform(7, 60)
            x = edge - side * rng.uniform(-0.5, 0.4) + street.shift(z)
            things.append((z, _draw_pole, (x, side)))
    return things


def _hazed(colour: np.ndarray, z: float, light: Light) -> list[float]:
    clear = float(np.exp(-max(z, 0.0) / light.visibility))
    return np.clip(clear * colour + (1 - clear) * light.haze, 0, 255).tolist()


def _fill(image: np.ndarray, camera: Camera, polygons: list[np.ndarray], colour: list[float]) -> None:
    outlines = []
    for polygon in polygons:
        clipped = clip_to_near_plane(polygon)
        if len(clipped) >= 3:
            outlines.append(fixed_point(camera.project(clipped)))
    for outline in outlines:
        cv2.fillPoly(image, [outline], colour, cv2.LINE_AA, SHIFT)


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
) -> None:
    height = rng.uniform(4.0, 22.0)
    tint = (
        _colour(rng, (0.0, 0.17), (0.05, 0.55), (0.35, 0.95))
        if rng.random() < 0.7
        else _colour(rng, (0, 1), (0.0, 0.3), (0.3, 0.95))
    )
    front_light = light.shade(np.array([-float(side), 0.0, 0.0]))
    end_light = light.shade(np.array([0.0, 0.0, -1.0]))
    back = x + side * rng.uniform(6, 14)

    def facade(z0: float, z1: float, y0: float, y1: float) -> np.ndarray:
        return np.array([[x, y0, z0], [x, y0, z1], [x, y1, z1], [x, y1, z0]])

    def end(x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
        return np.array([[x0, y0, near], [x1, y0, near], [x1, y1, near], [x0, y1, near]])

    roof = _colour(rng, (0.0, 0.1), (0.1, 0.6), (0.2, 0.55))
    if rng.random() < 0.5:
        ridge = height + rng.uniform(2, 4)
        middle = 0.5 * (x + back)
        _fill(
            image,
            camera,
            [np.array([[x, height, near], [x, height, far], [middle, ridge, far], [middle, ridge, near]])],
            _hazed(roof, z, light),
        )
        _fill(
            image,
            camera,
            [np.array([[x, height, near], [back, height, near], [middle, ridge, near]])],
            _hazed(tint * end_light, z, light),
        )
    _fill(image, camera, [end(min(x, back), max(x, back), 0, height)], _hazed(tint * end_light, near, light))
    _fill(image, camera, [facade(near, far, 0, height)], _hazed(tint * front_light, z, light))
    if rng.random() < 0.6:
        _fill(
            image,
            camera,
            [facade(near, far, 0, rng.uniform(0.6, 3.2))],
            _hazed(tint * front_light * rng.uniform(0.5, 1.2), z, light),
        )
    storey, bay = rng.uniform(2.7, 3.6), rng.uniform(1.8, 4.0)
    wide, high = rng.uniform(0.35, 0.75) * bay, rng.uniform(0.4, 0.65) * storey
    pane = rng.uniform(30, 110) * np.array([0.9, 1.0, 1.1]) * (0.6 + 0.4 * front_light)
    frame = tint * front_light * rng.uniform(0.6, 1.4)
    start = max(near, 1.0)
    columns = np.arange(near + 0.6, far - wide - 0.3, bay)
    columns = columns[columns >= start]
    floors = np.arange(1.0, height - high - 0.4, storey)
    framed = rng.random() < 0.5 and far < 60
    windows = [(a, y) for a in columns for y in floors]
    if framed:
        _fill(
            image,
            camera,
            [facade(a - 0.12, a + wide + 0.12, y - 0.12, y + high + 0.12) for a, y in windows],
            _hazed(frame, z, light),
        )
    _fill(image, camera, [facade(a, a + wide, y, y + high) for a, y in windows], _hazed(pane, z, light))
    if near > 2:
        spots = np.arange(min(x, back) + 0.8, max(x, back) - wide, bay * 1.2)
        _fill(image, camera, [end(a, a + wide, y, y + high) for a in spots for y in floors], _hazed(pane, near, light))


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
    colour = _colour(rng, (0.2, 0.4), (0.3, 0.7), (0.15, 0.45)) if green else _colour(rng, (0, 1), (0, 0.3), (0.3, 0.8))
    pieces = np.linspace(near, far, 9)
    for a, b in list(zip(pieces[:-1], pieces[1:]))[::-1]:
        xa, xb = x + street.shift(a), x + street.shift(b)
        tops = height * (rng.uniform(0.9, 1.1, 2) if green else np.ones(2))
        quad = np.array([[xa, 0, a], [xb, 0, b], [xb, tops[1], b], [xa, tops[0], a]])
        _fill(image, camera, [quad], _hazed(colour * rng.uniform(0.85, 1.05), a, light))


def _draw_tree(rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float) -> None:
    scale = camera.focal / z
    height, spread = rng.uniform(3.5, 10.0), rng.uniform(1.2, 3.2)
    trunk = _colour(rng, (0.03, 0.12), (0.2, 0.5), (0.15, 0.4))
    foot, crown = camera.project(np.array([[x, 0.0, z], [x, 0.62 * height, z]]))
    half = rng.uniform(0.1, 0.25) * scale
    stem = np.array([foot - (half, 0), foot + (half, 0), crown + (0.6 * half, 0), crown - (0.6 * half, 0)])
    cv2.fillPoly(image, [fixed_point(stem)], _hazed(trunk, z, light), cv2.LINE_AA, SHIFT)
    leaf = (
        _colour(rng, (0.14, 0.38), (0.2, 0.75), (0.2, 0.65))
        if rng.random() < 0.85
        else _colour(rng, (0.02, 0.13), (0.4, 0.8), (0.4, 0.8))
    )
    count = int(np.clip(140 * 20 / z, 25, 140))
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    px = crown[0] + np.cos(angle) * reach * spread * scale
    py = crown[1] - 0.1 * height * scale + np.sin(angle) * reach * 0.33 * height * scale
    radius = rng.uniform(0.12, 0.35, count) * spread * scale
    # Later leaves lie over earlier ones: the lit upper ones come last.
    brightness = 0.55 + 0.45 * (crown[1] - py) / max(0.4 * height * scale, 1e-3) + rng.uniform(-0.15, 0.15, count)
    for i in np.argsort(brightness):
        colour = _hazed(leaf * float(np.clip(brightness[i], 0.25, 1.2)), z, light)
        centre = (round(float(px[i]) * 16), round(float(py[i]) * 16))
        cv2.circle(image, centre, max(round(float(radius[i]) * 16), 8), colour, -1, cv2.LINE_AA, SHIFT)


def _draw_pole(
    rng: np.random.Generator, image: np.ndarray, camera: Camera, light: Light, z: float, x: float, side: int
) -> None:
    """A lamp, a traffic sign or a traffic light."""
    kind = rng.choice(["lamp", "sign", "signal"])
    height = rng.uniform(5, 8) if kind == "lamp" else rng.uniform(2.3, 3.3)
    scale = camera.focal / z
    foot, top = camera.project(np.array([[x, 0.0, z], [x, height, z]]))
    half = max(rng.uniform(0.03, 0.08) * scale, 0.35)
    grey = _hazed(np.full(3, rng.uniform(40, 170)), z, light)
    stem = np.array([foot - (half, 0), foot + (half, 0), top + (half, 0), top - (half, 0)])
    cv2.fillPoly(image, [fixed_point(stem)], grey, cv2.LINE_AA, SHIFT)
    if kind == "lamp":
        tip = top + (-side * 1.2 * scale, -0.2 * scale)
        cv2.fillPoly(
            image,
            [fixed_point(np.array([top - (0, half), top + (0, half), tip + (0, half), tip - (0, half)]))],
            grey,
            cv2.LINE_AA,
            SHIFT,
        )
    elif kind == "sign":
        sides = int(rng.choice([3, 4, 16]))
        angles = np.arange(sides) * 2 * np.pi / sides + rng.choice([np.pi / 2, np.pi / 4])
        for radius, colour in ((0.36, _colour(rng, (0, 1), (0.6, 1), (0.6, 0.95))), (0.24, np.full(3, 235.0))):
            plate = top + radius * scale * np.stack([np.cos(angles), -np.sin(angles)], axis=1)
            cv2.fillPoly(image, [fixed_point(plate)], _hazed(colour, z, light), cv2.LINE_AA, SHIFT)
    else:
        box = np.array([[-0.15, -0.45], [0.15, -0.45], [0.15, 0.45], [-0.15, 0.45]]) * scale
        cv2.fillPoly(image, [fixed_point(top + box)], _hazed(np.full(3, 28.0), z, light), cv2.LINE_AA, SHIFT)
        lamp = int(rng.integers(3))
        colour = ([230, 40, 30], [240, 180, 40], [40, 210, 90])[lamp]
        centre = top + (0, (lamp - 1) * 0.28 * scale)
        angles = np.arange(12) * np.pi / 6
        disc = centre + 0.1 * scale * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(image, [fixed_point(disc)], colour, cv2.LINE_AA, SHIFT)
