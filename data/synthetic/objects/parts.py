"""The parts that objects are put together from, each a solid or what is painted on one.

Object coordinates are metres: forward, right, up, the origin on the ground under the object's middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from data.synthetic.objects.paint import BLACK, RIM, TYRE
from data.synthetic.solids import Colour, Face, Rounded, Solid

Polygon = Sequence[tuple[float, float]]
Detail = tuple[Polygon, Colour]


def gleam_details(paint: Colour, rear: float, front: float, waist: float) -> list[Detail]:
    """What a side of polished paint mirrors: sky below the windows, ground above the sill."""
    return [
        (rectangle(rear, waist - 0.14, front, waist - 0.02), np.minimum(paint * 1.1 + 16, 255.0)),
        (rectangle(rear, 0.3, front, 0.3 + 0.35 * (waist - 0.3)), paint * 0.82),
    ]


def reflection_detail(pane: Polygon, glass: Colour) -> Detail:
    """Sky in a window: the upper part of its middle."""
    corners = np.array(pane)
    strip = corners.mean(axis=0) + (corners - corners.mean(axis=0)) * [0.75, 0.55] + [0.0, 0.06]
    return [(float(a), float(h)) for a, h in strip], np.minimum(glass * 1.5 + 18, 255.0)


def rectangle(left: float, bottom: float, right: float, top: float) -> Polygon:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def disc(a: float, h: float, radius: float, corners: int = 14) -> Polygon:
    angles = np.arange(corners) * 2 * np.pi / corners
    return [(a + radius * float(np.cos(t)), h + radius * float(np.sin(t))) for t in angles]


def wheel_details(a: float, radius: float, hub: Colour = RIM) -> list[Detail]:
    return [
        (disc(a, radius, radius), TYRE),
        (disc(a, radius, 0.58 * radius), hub),
        (disc(a, radius, 0.2 * radius), BLACK),
    ]


def prism_solid(
    profile: Polygon,
    half_widths: float | Sequence[float],
    colour: Colour,
    *,
    side: Sequence[Detail] = (),
    strips: dict[int, Sequence[Detail]] | None = None,
    strip_colours: dict[int, Colour] | None = None,
    layer: int = 0,
) -> Solid:
    """A convex body: a profile in the plane (forward, up), given once around, drawn out to both sides.

    `side` details are in the profile's plane and stand on both sides; `strips[i]` are details of the face between
    profile points i and i + 1 in coordinates across (0 left, 1 right) and along (0 at point i, 1 at point i + 1).
    """
    points = np.array(profile, float)
    widths = np.broadcast_to(np.asarray(half_widths, float), len(points))
    order = np.argsort(points[:, 1], kind="stable")
    faces = []
    for sign in (-1.0, 1.0):

        def on_side(polygon: np.ndarray, sign: float = sign) -> np.ndarray:
            reach = np.interp(polygon[:, 1], points[order, 1], widths[order])
            return np.stack([polygon[:, 0], sign * reach, polygon[:, 1]], axis=1)

        details = tuple(Face(on_side(np.array(polygon, float)), tint) for polygon, tint in side)
        faces.append(Face(on_side(points), colour, details))
    for i in range(len(points)):
        j = (i + 1) % len(points)
        corners = np.array(
            [
                [points[i, 0], -widths[i], points[i, 1]],
                [points[i, 0], widths[i], points[i, 1]],
                [points[j, 0], widths[j], points[j, 1]],
                [points[j, 0], -widths[j], points[j, 1]],
            ]
        )
        details = tuple(Face(on_quad(corners, polygon), tint) for polygon, tint in (strips or {}).get(i, ()))
        faces.append(Face(corners, (strip_colours or {}).get(i, colour), details))
    return Solid(tuple(faces), layer)


def on_quad(corners: Float[np.ndarray, "4 3"], polygon: Polygon) -> Float[np.ndarray, "n 3"]:
    across, along = np.array(polygon, float).T[:, :, None]
    start = corners[0] + across * (corners[1] - corners[0])
    end = corners[3] + across * (corners[2] - corners[3])
    return start + along * (end - start)


def box_solid(
    rear: float,
    front: float,
    half_width: float,
    bottom: float,
    top: float,
    colour: Colour,
    *,
    side: Sequence[Detail] = (),
    strips: dict[int, Sequence[Detail]] | None = None,
    layer: int = 0,
) -> Solid:
    """A cuboid; strips are 0 bottom, 1 front, 2 top, 3 rear."""
    profile = [(rear, bottom), (front, bottom), (front, top), (rear, top)]
    return prism_solid(profile, half_width, colour, side=side, strips=strips, layer=layer)


def ball_solid(x: float, y: float, z: float, radius: float, colour: Colour, layer: int = 0) -> Rounded:
    return Rounded(np.array([[x, y, z, radius]]), colour, layer)


def limb_solid(
    start: Sequence[float], end: Sequence[float], r0: float, r1: float, colour: Colour, layer: int = 0
) -> Rounded:
    return Rounded(np.array([[*start, r0], [*end, r1]]), colour, layer)


def underbody_solids(length: float, half_width: float, wheel_radius: float, wheels: Sequence[float]) -> list[Solid]:
    """What one sees under a vehicle: a dark floor and the treads of its wheels."""
    parts = [box_solid(-0.46 * length, 0.46 * length, 0.88 * half_width, 0.16, 0.45, BLACK)]
    for a in wheels:
        for sign in (-1.0, 1.0):
            outer, inner = sign * 0.99 * half_width, sign * 0.72 * half_width
            rim = np.array(
                [[a + p, b, h] for b in (inner, outer) for p, h in disc(0.0, wheel_radius, wheel_radius, 10)]
            )
            tread = [Face(rim[[i, (i + 1) % 10, 10 + (i + 1) % 10, 10 + i]], TYRE * 0.8) for i in range(10)]
            parts.append(Solid(tuple(tread)))
    return parts
