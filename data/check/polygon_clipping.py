"""Cuts polygons off at the border of an image."""

import numpy as np
from jaxtyping import Float


def clip_polygon(points: Float[np.ndarray, "n 2"], height: int, width: int) -> Float[np.ndarray, "m 2"]:
    """The part of a polygon within [0, width] x [0, height] (Sutherland and Hodgman); no points where there is none.

    Parts that the border separates stay joined along it, by lines without an area.
    """
    for axis, bound, sign in ((0, 0.0, 1), (0, float(width), -1), (1, 0.0, 1), (1, float(height), -1)):
        clipped: list[np.ndarray] = []
        for start, end in zip(np.roll(points, 1, axis=0), points, strict=True):
            from_inside, to_inside = (sign * (point[axis] - bound) >= 0 for point in (start, end))
            if from_inside != to_inside:
                crossing = start + (end - start) * ((bound - start[axis]) / (end[axis] - start[axis]))
                crossing[axis] = bound
                clipped.append(crossing)
            if to_inside:
                clipped.append(end)
        points = np.array(clipped, dtype=np.float64).reshape(-1, 2)
    return points
