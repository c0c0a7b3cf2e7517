"""Composes one scene: camera, street, objects in their order of depth, image and masks.

Masks are exact: an object's amodal mask is its outline clipped at the image's border, and its visible mask is that less
everything that stands before it. An object of which too little would be seen is left out of the picture altogether, so
that nothing is hidden by a thing without an annotation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from data.synthetic.background import Street, draw_background, sample_light, sample_street
from data.synthetic.camera import Camera, sample_camera
from data.synthetic.footprints import footprint, in_front, nearest_first
from data.synthetic.objects import CLASSES
from data.synthetic.solids import Light, Model, Pose, Sprite, outline_box, render

FREQUENCY = {"cyclist": 0.11, "pedestrian": 0.13, "car": 0.34, "tram": 0.09, "truck": 0.1, "van": 0.11, "misc": 0.12}
"""Share of each class among the objects that are placed; cars lead, as in KINS, but no class is rare."""
FARTHEST = {"cyclist": 18.0, "pedestrian": 18.0, "car": 22.0, "tram": 36.0, "truck": 36.0, "van": 28.0, "misc": 18.0}
NEAREST = {"cyclist": 5.0, "pedestrian": 4.5, "car": 6.0, "tram": 14.0, "truck": 11.0, "van": 8.0, "misc": 6.0}
"""Depth in metres of the object's middle."""
FEWEST, MOST = 3, 9
LEAST_VISIBLE_SHARE = 0.2
LEAST_VISIBLE_PIXELS = 12
LEAST_INSIDE = 0.3
"""Share of an object's box that has to lie inside the image."""
GAP = 0.15
"""Metres kept free between two objects' footprints."""


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


@dataclass(frozen=True)
class _Placed:
    model: Model
    pose: Pose
    footprint: Float[np.ndarray, "4 2"]
    """corners (x, z), in order around"""
    box: Float[np.ndarray, " 4"]


def make_scene(seed: tuple[int, ...], width: int, height: int, classes: Sequence[str] = tuple(FREQUENCY)) -> Scene:
    """The scene that belongs to this seed: the same image and masks each time, whatever was drawn before.

    Only objects of `classes` are placed, in their shares among each other.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    camera = sample_camera(rng, width, height)
    street, light = sample_street(rng), sample_light(rng)
    canvas = draw_background(rng, camera, street, light)
    objects = _place_objects(rng, camera, street, classes)
    order = nearest_first([item.footprint for item in objects], [item.pose.z for item in objects])
    placed = [objects[index] for index in order]
    taken = np.zeros((height, width), bool)
    drawn: list[tuple[_Placed, Sprite]] = []
    instances = []
    for item in placed:
        sprite = render(item.model, item.pose, camera, light, rng)
        if sprite is None:
            continue
        window = sprite.window()
        visible = sprite.mask & ~taken[window]
        if visible.sum() < max(LEAST_VISIBLE_PIXELS, LEAST_VISIBLE_SHARE * sprite.mask.sum()):
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
    return Scene(_photograph(rng, canvas), tuple(instances))


# Where things stand


def _place_objects(rng: np.random.Generator, camera: Camera, street: Street, classes: Sequence[str]) -> list[_Placed]:
    names = [name for name in FREQUENCY if name in classes]
    shares = np.array([FREQUENCY[name] for name in names])
    placed: list[_Placed] = []
    wanted = int(rng.integers(FEWEST, MOST + 1))
    for _ in range(wanted):
        model = CLASSES[names[rng.choice(len(names), p=shares / shares.sum())]](rng)
        for _ in range(12):
            beside = placed[rng.integers(len(placed))] if placed and rng.random() < 0.5 else None
            pose = _sample_pose(rng, model, camera, street, beside)
            ground = footprint(model.length + GAP, model.width + GAP, pose)
            if ground[:, 1].min() < 2.0:
                continue
            near = (other for other in placed if _could_touch(model, pose, other))
            if any(in_front(ground, other.footprint) is None for other in near):
                continue
            box = outline_box(model, pose, camera)
            inside = np.clip(box, 0, (camera.width, camera.height) * 2)
            area = (box[2] - box[0]) * (box[3] - box[1])
            if (inside[2] - inside[0]) * (inside[3] - inside[1]) < LEAST_INSIDE * area:
                continue
            placed.append(_Placed(model, pose, ground, box))
            break
    return placed


def _sample_pose(
    rng: np.random.Generator, model: Model, camera: Camera, street: Street, beside: _Placed | None
) -> Pose:
    """A place in a lane, at the roadside or on a pavement; with `beside`, one where the two are likely to overlap."""
    name = model.class_name
    nearest, farthest = NEAREST[name], FARTHEST[name]
    z = float(np.exp(rng.uniform(np.log(nearest), np.log(farthest))))
    middle = street.shift(z)
    on_foot = name == "pedestrian"
    left_walk, right_walk = street.left_edge - street.pavement, street.right_edge + street.pavement
    if beside is not None:
        z = float(
            np.clip(beside.pose.z + rng.uniform(1.0, 10.0) * rng.choice([-1, 1], p=[0.4, 0.6]), nearest, farthest)
        )
        reach = 0.5 * (beside.box[2] - beside.box[0]) + 0.5 * camera.focal * max(model.width, 0.6 * model.length) / z
        column = 0.5 * (beside.box[0] + beside.box[2]) + rng.choice([-1, 1]) * rng.uniform(0.4, 1.0) * reach
        x = float(np.clip((column - camera.centre_x) * z / camera.focal, left_walk, right_walk))
    elif (on_foot and rng.random() < 0.75) or (name == "misc" and rng.random() < 0.4):
        side = rng.random() < 0.5
        low, high = (left_walk, street.left_edge) if side else (street.right_edge, right_walk)
        x = middle + rng.uniform(low, high)
    elif name in ("cyclist", "misc") or (name != "tram" and rng.random() < 0.3):
        inset = 0.5 * model.width + rng.uniform(0.1, 0.8)
        x = middle + (street.left_edge + inset if rng.random() < 0.5 else street.right_edge - inset)
    else:
        x = middle + rng.choice(street.lanes) + rng.normal(0, 0.25)
    heading = 2 * street.bend * z
    if on_foot:
        yaw = rng.uniform(0, 2 * np.pi)
    else:
        kind = rng.random()
        across, any_way = (0.12, 0.03) if name == "tram" else (0.25, 0.15)
        if kind < across:
            yaw = heading + rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.3)
        elif kind < across + any_way:
            yaw = rng.uniform(0, 2 * np.pi)
        else:
            oncoming = x < middle - 1.5 if rng.random() < 0.8 else rng.random() < 0.5
            yaw = heading + (np.pi if oncoming else 0.0) + rng.normal(0, 0.08)
    return Pose(x=float(x), z=z, yaw=float(yaw))


def _could_touch(model: Model, pose: Pose, other: _Placed) -> bool:
    """Whether the circles around two footprints meet: cheap, and false for most pairs."""
    reach = sum(0.5 * math.hypot(thing.length + GAP, thing.width + GAP) for thing in (model, other.model))
    return math.hypot(pose.x - other.pose.x, pose.z - other.pose.z) < reach


# Light and lens


def _darken_ground(canvas: Float[np.ndarray, "H W 3"], placed: list[_Placed], camera: Camera, light: Light) -> None:
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


def _photograph(rng: np.random.Generator, canvas: Float[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Blur, colour cast, exposure, gamma, vignette and sensor noise."""
    height, width = canvas.shape[:2]
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.25, 0.75) * max(width / 620, 0.6))
    cast = rng.normal(1.0, 0.05, 3)
    exposure = float(np.exp(rng.normal(0.0, 0.22)))
    gamma = float(np.exp(rng.normal(0.0, 0.15)))
    levels = np.linspace(0, 1, 1024, dtype=np.float32)
    curve = 255 * levels**gamma
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    vignette = 1 - rng.uniform(0, 0.15) * (x * x + y * y)
    canvas *= vignette[..., None] * (cast * exposure * (levels.size - 1) / 255).astype(np.float32)
    toned = curve[np.clip(canvas, 0, levels.size - 1).astype(np.uint16)]
    toned += rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0.5, 5.0))
    return np.clip(toned + 0.5, 0, 255).astype(np.uint8)
