"""Rectangles that objects cover on the ground, and which of them hide which.

World coordinates as in `camera`: corners are (x, z) in metres, the camera stands over the origin.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from data.synthetic.solids import Pose


def footprint(length: float, width: float, pose: Pose) -> Float[np.ndarray, "4 2"]:
    """The corners in order around, clockwise seen from above."""
    a, b = length / 2, width / 2
    corners = np.array([[a, -b, 0.0], [a, b, 0.0], [-a, b, 0.0], [-a, -b, 0.0]])
    return pose.to_world(corners)[:, [0, 2]]


def in_front(first: Float[np.ndarray, "4 2"], second: Float[np.ndarray, "4 2"]) -> bool | None:
    """Whether the first of two rectangles on the ground is in front of the second, the camera standing at the origin.

    A side of one rectangle that has the other beyond it is a wall between the two, and what stands on the camera's side
    of a wall cannot be hidden by what stands beyond it. None where the rectangles overlap.
    """
    for one, other in ((first, second), (second, first)):
        # The corners run clockwise seen from above, x to the right and z up.
        following = one[[1, 2, 3, 0]]
        outward = np.stack([one[:, 1] - following[:, 1], following[:, 0] - one[:, 0]], axis=1)
        distance = (outward * one).sum(axis=1)
        walls = (outward @ other.T >= distance[:, None]).all(axis=1)
        if walls.any():
            one_is_nearer = bool(distance[walls.argmax()] > 0)
            return one_is_nearer if one is first else not one_is_nearer
    return None


def nearest_first(footprints: Sequence[Float[np.ndarray, "4 2"]], depths: Sequence[float]) -> list[int]:
    """The order of objects in which none is hidden by a later one; a circle (rare) is broken at the least depth.

    Args:
        footprints: of N objects; which of two that overlap hides the other is left to their depths.
        depths: N, metres.

    Returns:
        N indices.
    """
    rest = sorted(range(len(footprints)), key=lambda index: depths[index])
    ahead = {
        one: {other for other in rest if other != one and in_front(footprints[one], footprints[other]) is False}
        for one in rest
    }
    ordered = []
    while rest:
        left = set(rest)
        free = next((index for index in rest if not ahead[index] & left), rest[0])
        rest.remove(free)
        ordered.append(free)
    return ordered
