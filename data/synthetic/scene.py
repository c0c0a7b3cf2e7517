"""Composes one scene: camera, street, objects in their order of depth, image and masks.

Masks are exact: an object's amodal mask is its outline clipped at the image's border, and its visible mask is that less
everything that stands before it. An object of which too little would be seen is left out of the picture altogether, so
that nothing is hidden by a thing without an annotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from amodal_jax.classes import KINS_CLASS_NAMES
from data.synthetic import kins_traffic, light_traffic
from data.synthetic.camera import Camera, sample_camera
from data.synthetic.photographs import Photographs, photographed_background
from data.synthetic.placed import LEAST_VISIBLE_PIXELS, Placed
from data.synthetic.solids import Light, Sprite, render
from data.synthetic.surroundings.background import draw_background

TRAFFIC = {"kins": kins_traffic, "light": light_traffic}
"""What is placed, and how it is distributed."""


@dataclass(frozen=True)
class Instance:
    """One object of a scene."""

    class_name: str
    amodal_mask: Bool[np.ndarray, "H W"]
    visible_mask: Bool[np.ndarray, "H W"]
    depth: float
    """metres from the camera to the object's middle, along the optical axis"""


@dataclass(frozen=True)
class Scene:
    """An image and everything to be known of it."""

    image: UInt8[np.ndarray, "H W 3"]
    """RGB"""
    instances: tuple[Instance, ...]
    """nearest first: an instance hides those after it where their amodal masks overlap"""


def make_scene(
    seed: tuple[int, ...],
    width: int,
    height: int,
    classes: Sequence[str] = KINS_CLASS_NAMES,
    traffic: str = "kins",
    photographs: Photographs | None = None,
) -> Scene:
    """The scene that belongs to this seed: the same image and masks each time, whatever was drawn before.

    Args:
        seed: of everything.
        width: of the image, pixels.
        height: of the image, pixels.
        classes: those of which objects are placed, in their shares among each other.
        traffic: a key of `TRAFFIC`.
        photographs: what the objects are drawn on; None draws a street for them.

    Raises:
        ImageError: a photograph has gone or is damaged.
    """
    kind = TRAFFIC[traffic]
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    camera = sample_camera(rng, width, height)
    street, light = kind.sample_street(rng), kind.sample_light(rng)
    if photographs is None:
        canvas = draw_background(rng, camera, street, light, detailed=kind.DETAILED)
    else:
        canvas = photographed_background(rng, camera, photographs)
    placed = kind.place_objects(rng, camera, street, classes)
    taken = np.zeros((height, width), bool)
    drawn: list[tuple[Placed, Sprite]] = []
    instances = []
    for item in placed:
        sprite = render(item.model, item.pose, camera, light, rng)
        if sprite is None:
            continue
        window = sprite.window()
        visible = sprite.mask & ~taken[window]
        if visible.sum() < max(LEAST_VISIBLE_PIXELS, kind.LEAST_VISIBLE_SHARE * sprite.mask.sum()):
            continue
        amodal_mask, visible_mask = np.zeros((2, height, width), bool)
        amodal_mask[window], visible_mask[window] = sprite.mask, visible
        taken[window] |= sprite.mask
        drawn.append((item, sprite))
        instances.append(Instance(item.model.class_name, amodal_mask, visible_mask, item.pose.z))
    _darken_ground(canvas, [item for item, _ in drawn], camera, light)
    for _, sprite in reversed(drawn):
        window = sprite.window()
        canvas[window] = canvas[window] * (1 - sprite.opacity[..., None]) + sprite.premultiplied
    return Scene(_photograph(rng, canvas, DAYLIGHT if kind.DETAILED else ANY_LIGHT), tuple(instances))


# Light and lens


def _darken_ground(canvas: Float[np.ndarray, "H W 3"], placed: list[Placed], camera: Camera, light: Light) -> None:
    """Contact shadows under the objects and the shadows that the sun casts of them, on the ground only."""
    height, width = canvas.shape[:2]
    shade = np.zeros((height, width), np.uint8)
    contact = np.zeros((height, width), np.uint8)
    reach = -light.direction[[0, 2]] / max(float(light.direction[1]), 0.3)
    for item in placed:
        centre = item.footprint.mean(axis=0)
        foot = centre + 0.95 * (item.footprint - centre)
        far = foot + reach * 0.8 * item.model.height
        for target, ground in ((shade, np.concatenate([foot, far])), (contact, foot)):
            world = np.stack([ground[:, 0], np.zeros(len(ground)), np.maximum(ground[:, 1], 1.0)], axis=1)
            hull = cv2.convexHull(camera.project(world).astype(np.float32))
            cv2.fillConvexPoly(target, np.round(np.clip(hull, -20_000, 20_000)).astype(np.int32), 255)
    soft = max(width / 620, 0.5)
    sun = cv2.GaussianBlur(shade, (0, 0), 0.8 * soft).astype(np.float32) * ((1 - light.ambient) * 0.75 / 255)
    touch = cv2.GaussianBlur(contact, (0, 0), 2.0 * soft).astype(np.float32) * (0.6 / 255)
    factor = (1 - np.clip(sun, 0, 1)) * (1 - np.clip(touch, 0, 1))
    # Shadows fall on the ground, not on the walls behind it.
    factor[: int(np.clip(np.ceil(camera.horizon), 0, height))] = 1.0
    canvas *= factor[..., None]


@dataclass(frozen=True)
class Lens:
    """How the cameras of a set of scenes differ."""

    blur: tuple[float, float]
    """standard deviation in pixels of an image 620 wide"""
    cast: float
    """standard deviation of each channel's gain"""
    exposure: tuple[float, float]
    """mean and standard deviation of its logarithm"""
    saturation: float
    """of the colours, 1 as they are painted"""
    noise: tuple[float, float]
    """standard deviation, 0..255"""
    contrast: float
    """0 none, 1 a curve that triples the contrast of the middle tones"""


ANY_LIGHT = Lens(blur=(0.25, 0.75), cast=0.05, exposure=(0.0, 0.22), saturation=1.0, noise=(0.5, 5.0), contrast=0.0)
DAYLIGHT = Lens(blur=(0.15, 0.35), cast=0.02, exposure=(0.14, 0.1), saturation=0.72, noise=(0.5, 4.0), contrast=0.35)


def _photograph(rng: np.random.Generator, canvas: Float[np.ndarray, "H W 3"], lens: Lens) -> UInt8[np.ndarray, "H W 3"]:
    """Blur, colour cast, exposure, gamma, vignette and sensor noise."""
    height, width = canvas.shape[:2]
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(*lens.blur) * max(width / 620, 0.6))
    if lens.saturation != 1:
        grey = canvas.mean(axis=2, keepdims=True)
        canvas = grey + np.float32(lens.saturation) * (canvas - grey)
    cast = rng.normal(1.0, lens.cast, 3)
    exposure = float(np.exp(rng.normal(*lens.exposure)))
    gamma = float(np.exp(rng.normal(0.0, 0.15)))
    levels = np.linspace(0, 1, 1024, dtype=np.float32)
    curve = 255 * levels**gamma
    if lens.contrast:
        smooth = levels * levels * (3 - 2 * levels)
        curve = 255 * ((1 - lens.contrast) * levels + lens.contrast * smooth) ** gamma
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    vignette = 1 - rng.uniform(0, 0.15) * (x * x + y * y)
    canvas *= vignette[..., None] * (cast * exposure * (levels.size - 1) / 255).astype(np.float32)
    toned = curve[np.clip(canvas, 0, levels.size - 1).astype(np.uint16)]
    toned += rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(*lens.noise))
    return np.clip(toned + 0.5, 0, 255).astype(np.uint8)
