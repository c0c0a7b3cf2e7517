"""An object with its place in a scene."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data.synthetic.camera import Camera
from data.synthetic.footprints import footprint, in_front
from data.synthetic.solids import Model, Pose, outline_box

GAP = 0.15
"""Metres kept free between two objects' footprints."""
LEAST_VISIBLE_PIXELS = 12
"""An object of which less is seen is left out of its scene."""
NEAREST_CORNER = 2.0
"""Least depth of a footprint's corners, metres."""


@dataclass(frozen=True)
class Placed:
    """One object, not yet drawn."""

    model: Model
    pose: Pose
    footprint: Float[np.ndarray, "4 2"]
    """corners (x, z), in order around"""
    box: Float[np.ndarray, " 4"]
    """around the bounding cuboid, [x1, y1, x2, y2] in pixels, not clipped to the image"""


def place(model: Model, pose: Pose, camera: Camera, others: Iterable[Placed], least_inside: float) -> Placed | None:
    """The object at this place; None where it stands too near, in another one, or mostly outside the image.

    Args:
        model: the object.
        pose: where it is to stand.
        camera: of the scene.
        others: what stands there already.
        least_inside: share of the object's box that has to lie inside the image.
    """
    ground = footprint(model.length + GAP, model.width + GAP, pose)
    if ground[:, 1].min() < NEAREST_CORNER:
        return None
    near = (other for other in others if _could_touch(model, pose, other))
    if any(in_front(ground, other.footprint) is None for other in near):
        return None
    box = outline_box(model, pose, camera)
    inside = np.clip(box, 0, (camera.width, camera.height) * 2)
    area = (box[2] - box[0]) * (box[3] - box[1])
    if (inside[2] - inside[0]) * (inside[3] - inside[1]) < least_inside * area:
        return None
    return Placed(model, pose, ground, box)


def _could_touch(model: Model, pose: Pose, other: Placed) -> bool:
    """Whether the circles around two footprints meet: cheap, and false for most pairs."""
    reach = sum(0.5 * math.hypot(thing.length + GAP, thing.width + GAP) for thing in (model, other.model))
    return math.hypot(pose.x - other.pose.x, pose.z - other.pose.z) < reach
