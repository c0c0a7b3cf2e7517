"""A few large objects of classes that are all common, which a small network learns from in minutes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.synthetic.camera import Camera
from data.synthetic.footprints import nearest_first
from data.synthetic.objects import CLASSES
from data.synthetic.placed import Placed, place
from data.synthetic.solids import Model, Pose
from data.synthetic.street import Street, sample_light, sample_street

FREQUENCY = {"cyclist": 0.11, "pedestrian": 0.13, "car": 0.34, "tram": 0.09, "truck": 0.1, "van": 0.11, "misc": 0.12}
"""Share of each class among the objects that are placed; cars lead, as in KINS, but no class is rare."""
FARTHEST = {"cyclist": 18.0, "pedestrian": 18.0, "car": 22.0, "tram": 36.0, "truck": 36.0, "van": 28.0, "misc": 18.0}
NEAREST = {"cyclist": 5.0, "pedestrian": 4.5, "car": 6.0, "tram": 14.0, "truck": 11.0, "van": 8.0, "misc": 6.0}
"""Depth in metres of the object's middle."""
FEWEST, MOST = 3, 9
DETAILED = False
LEAST_VISIBLE_SHARE = 0.2
LEAST_INSIDE = 0.3
"""Share of an object's box that has to lie inside the image."""


__all__ = ["DETAILED", "LEAST_VISIBLE_SHARE", "place_objects", "sample_light", "sample_street"]


def place_objects(rng: np.random.Generator, camera: Camera, street: Street, classes: Sequence[str]) -> list[Placed]:
    """Objects of `classes`, in their shares among each other, so that none is hidden by a later one."""
    names = [name for name in FREQUENCY if name in classes]
    shares = np.array([FREQUENCY[name] for name in names])
    placed: list[Placed] = []
    wanted = int(rng.integers(FEWEST, MOST + 1))
    for _ in range(wanted):
        model = CLASSES[names[rng.choice(len(names), p=shares / shares.sum())]](rng)
        for _ in range(12):
            beside = placed[rng.integers(len(placed))] if placed and rng.random() < 0.5 else None
            pose = _sample_pose(rng, model, camera, street, beside)
            found = place(model, pose, camera, placed, LEAST_INSIDE)
            if found is not None:
                placed.append(found)
                break
    order = nearest_first([item.footprint for item in placed], [item.pose.z for item in placed])
    return [placed[index] for index in order]


def _sample_pose(rng: np.random.Generator, model: Model, camera: Camera, street: Street, beside: Placed | None) -> Pose:
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
