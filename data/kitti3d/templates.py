"""The shape of each class in a unit box: the synthetic scenes' own models, stripped of paint and fitted to the box.

Box coordinates are forward and right in -0.5..0.5 and up in 0..1: scaled by a 3D box's length, width and height they
are an object's coordinates in metres.
"""

import functools

import numpy as np
from jaxtyping import Float

from data.synthetic.objects import CLASSES
from data.synthetic.solids import Face, Rounded, Solid

# One drawing of each class, chosen by eye for its middling proportions: a hatchback, a box truck, a trailer, ...
SEEDS = {"cyclist": 0, "pedestrian": 1, "car": 5, "tram": 0, "truck": 1, "van": 0, "misc": 35}
_RING = np.arange(8) * np.pi / 4


@functools.cache
def template(class_name: str) -> tuple[Float[np.ndarray, "n 3"], ...]:
    """The class's shape as convex parts, each the hull of its points; the object is their union."""
    model = CLASSES[class_name](np.random.default_rng(SEEDS[class_name]))
    # A tram's pantograph, its only round part, stands above the box.
    kept = [part for part in model.parts if class_name != "tram" or isinstance(part, Solid)]
    parts = [points for part in kept for points in _hulls(part)]
    everything = np.concatenate(parts)
    low, high = everything.min(axis=0), everything.max(axis=0)
    return tuple((points - low) / (high - low) - [0.5, 0.5, 0.0] for points in parts)


def _hulls(part: Solid | Rounded) -> list[Float[np.ndarray, "n 3"]]:
    if isinstance(part, Rounded):
        return [np.concatenate([sphere[:3] + sphere[3] * _ball() for sphere in part.spheres])]
    if not part.convex:
        return [face.points for face in part.faces]
    body = np.concatenate([face.points for face in part.faces])
    return [body, *(detail.points for face in part.faces for detail in face.details if _sticks_out(detail, body))]


def _sticks_out(detail: Face, body: Float[np.ndarray, "n 3"]) -> bool:
    """Whether something drawn on a body, such as a wheel, reaches beyond the body's bounds."""
    return bool((detail.points < body.min(axis=0) - 1e-6).any() or (detail.points > body.max(axis=0) + 1e-6).any())


@functools.cache
def _ball() -> Float[np.ndarray, "n 3"]:
    """Points all over a unit sphere."""
    rings = [
        [np.cos(t) * np.cos(height), np.sin(t) * np.cos(height), np.sin(height)]
        for height in (-np.pi / 4, 0.0, np.pi / 4)
        for t in _RING
    ]
    return np.array([*rings, [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
