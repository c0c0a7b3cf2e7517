"""The seven classes of KINS as models built from solids: each call draws new proportions, parts and colours.

Object coordinates are metres: forward, right, up, the origin on the ground under the object's middle.
"""

from __future__ import annotations

import colorsys
import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from data.synthetic.solids import Colour, Face, Model, Rounded, Solid

Polygon = Sequence[tuple[float, float]]
Detail = tuple[Polygon, Colour]

BLACK = np.array([22.0, 22.0, 24.0])
TYRE = np.array([30.0, 29.0, 30.0])
RIM = np.array([150.0, 152.0, 156.0])
PLATE = np.array([235.0, 232.0, 215.0])
TAIL_LIGHT = np.array([205.0, 22.0, 20.0])
HEADLIGHT = np.array([245.0, 243.0, 225.0])
SKIN = np.array([[238, 200, 172], [219, 172, 136], [178, 126, 92], [120, 80, 56], [84, 56, 42]], float)
HAIR = np.array([[28, 22, 20], [70, 46, 30], [120, 82, 46], [196, 160, 100], [150, 150, 150]], float)


# Colours


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return 255.0 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _any_colour(rng: np.random.Generator, saturation: float = 1.0) -> Colour:
    return _hsv(rng.uniform(), saturation * rng.uniform(0.1, 0.95), rng.uniform(0.2, 1.0))


def _paint(rng: np.random.Generator) -> Colour:
    """A car's colour: half of them white to black, as on the road."""
    if rng.random() < 0.5:
        return np.full(3, rng.choice([235.0, 190.0, 140.0, 85.0, 45.0]) * rng.uniform(0.85, 1.05))
    return _hsv(rng.uniform(), rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.95))


def _street_paint(rng: np.random.Generator) -> Colour:
    """A car's colour as they are counted on roads: three of four without a hue, the others mostly blue or red, deep."""
    if rng.random() < 0.74:
        return np.full(3, rng.choice([240.0, 185.0, 140.0, 80.0, 42.0, 28.0])) * rng.uniform(0.9, 1.05, 3)
    hue = float(rng.choice([0.6, 0.62, 0.0, 0.98, 0.35, 0.11, rng.uniform()]))
    return _hsv(hue, rng.uniform(0.35, 0.85), rng.uniform(0.2, 0.7))


def _gleam(paint: Colour, rear: float, front: float, waist: float) -> list[Detail]:
    """What a side of polished paint mirrors: sky below the windows, ground above the sill."""
    return [
        (_rectangle(rear, waist - 0.14, front, waist - 0.02), np.minimum(paint * 1.1 + 16, 255.0)),
        (_rectangle(rear, 0.3, front, 0.3 + 0.35 * (waist - 0.3)), paint * 0.82),
    ]


def _reflection(pane: Polygon, glass: Colour) -> Detail:
    """Sky in a window: the upper part of its middle."""
    corners = np.array(pane)
    strip = corners.mean(axis=0) + (corners - corners.mean(axis=0)) * [0.75, 0.55] + [0.0, 0.06]
    return [(float(a), float(h)) for a, h in strip], np.minimum(glass * 1.5 + 18, 255.0)


def _glass(rng: np.random.Generator) -> Colour:
    return np.array([42.0, 52.0, 62.0]) * rng.uniform(0.6, 2.2)


# Shapes


def _rectangle(left: float, bottom: float, right: float, top: float) -> Polygon:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _disc(a: float, h: float, radius: float, corners: int = 14) -> Polygon:
    angles = np.arange(corners) * 2 * np.pi / corners
    return [(a + radius * float(np.cos(t)), h + radius * float(np.sin(t))) for t in angles]


def _wheel(a: float, radius: float, hub: Colour = RIM) -> list[Detail]:
    return [
        (_disc(a, radius, radius), TYRE),
        (_disc(a, radius, 0.58 * radius), hub),
        (_disc(a, radius, 0.2 * radius), BLACK),
    ]


def _prism(
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
        details = tuple(Face(_on_quad(corners, polygon), tint) for polygon, tint in (strips or {}).get(i, ()))
        faces.append(Face(corners, (strip_colours or {}).get(i, colour), details))
    return Solid(tuple(faces), layer)


def _on_quad(corners: Float[np.ndarray, "4 3"], polygon: Polygon) -> Float[np.ndarray, "n 3"]:
    across, along = np.array(polygon, float).T[:, :, None]
    start = corners[0] + across * (corners[1] - corners[0])
    end = corners[3] + across * (corners[2] - corners[3])
    return start + along * (end - start)


def _box(
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
    return _prism(profile, half_width, colour, side=side, strips=strips, layer=layer)


def _ball(x: float, y: float, z: float, radius: float, colour: Colour, layer: int = 0) -> Rounded:
    return Rounded(np.array([[x, y, z, radius]]), colour, layer)


def _limb(
    start: Sequence[float], end: Sequence[float], r0: float, r1: float, colour: Colour, layer: int = 0
) -> Rounded:
    return Rounded(np.array([[*start, r0], [*end, r1]]), colour, layer)


def _underbody(length: float, half_width: float, wheel_radius: float, wheels: Sequence[float]) -> list[Solid]:
    """What one sees under a vehicle: a dark floor and the treads of its wheels."""
    parts = [_box(-0.46 * length, 0.46 * length, 0.88 * half_width, 0.16, 0.45, BLACK)]
    for a in wheels:
        for sign in (-1.0, 1.0):
            outer, inner = sign * 0.99 * half_width, sign * 0.72 * half_width
            rim = np.array(
                [[a + p, b, h] for b in (inner, outer) for p, h in _disc(0.0, wheel_radius, wheel_radius, 10)]
            )
            tread = [Face(rim[[i, (i + 1) % 10, 10 + (i + 1) % 10, 10 + i]], TYRE * 0.8) for i in range(10)]
            parts.append(Solid(tuple(tread)))
    return parts


# Vehicles


def car(rng: np.random.Generator, *, street: bool = False) -> Model:
    """With `street` it has a colour as most cars have, and shines."""
    length, width, height = rng.uniform(3.5, 4.8), rng.uniform(1.6, 1.85), rng.uniform(1.38, 1.68)
    paint, glass = _street_paint(rng) if street else _paint(rng), _glass(rng)
    back, front, half = -length / 2, length / 2, width / 2
    waist = height * rng.uniform(0.58, 0.64)
    hood = waist * rng.uniform(0.86, 0.96)
    tail = {"hatchback": 0.02, "sedan": 0.2, "estate": 0.02}[str(rng.choice(["hatchback", "sedan", "estate"]))] * length
    roof_rear = back + tail + length * rng.uniform(0.05, 0.14)
    windshield_base = front - length * rng.uniform(0.24, 0.31)
    roof_front = windshield_base - length * rng.uniform(0.13, 0.19)
    radius = rng.uniform(0.29, 0.35)
    axles = (back + 0.19 * length, front - 0.19 * length)
    bumper = BLACK * 1.6 if rng.random() < 0.3 else paint * 0.85
    bottom = 0.22
    door = 0.5 * (roof_front + roof_rear) + rng.uniform(-0.1, 0.2)
    side: list[Detail] = [
        (_rectangle(back + 0.05, bottom, front - 0.05, bottom + 0.1), BLACK * 1.5),
        (_rectangle(door, bottom + 0.1, door + 0.025, waist), paint * 0.45),
        (_rectangle(windshield_base - 0.3, bottom + 0.1, windshield_base - 0.275, waist), paint * 0.45),
        (_rectangle(door - 0.3, waist - 0.14, door - 0.1, waist - 0.1), BLACK if rng.random() < 0.5 else paint * 1.3),
        (_rectangle(back, waist - 0.24, back + 0.2, waist - 0.08), TAIL_LIGHT),
        (_rectangle(front - 0.22, hood - 0.22, front, hood - 0.1), HEADLIGHT),
    ]
    if street:
        mirror = _rectangle(windshield_base - 0.42, waist - 0.02, windshield_base - 0.2, waist + 0.14)
        side = [*_gleam(paint, back + 0.03, front - 0.14, hood), *side, (mirror, paint * 0.7)]
    for a in axles:
        side += [(_disc(a, radius, 1.2 * radius), BLACK), *_wheel(a, radius)]
    rear_strip: list[Detail] = [
        (_rectangle(0.0, 0.0, 1.0, 0.3), bumper * 0.8),
        (_rectangle(0.02, 0.55, 0.2, 0.85), TAIL_LIGHT),
        (_rectangle(0.8, 0.55, 0.98, 0.85), TAIL_LIGHT),
        (_rectangle(0.36, 0.4, 0.64, 0.58), PLATE),
    ]
    front_strip: list[Detail] = [
        (_rectangle(0.0, 0.7, 1.0, 1.0), bumper * 0.8),
        (_rectangle(0.3, 0.12, 0.7, 0.42), BLACK * 1.4),
        (_rectangle(0.03, 0.1, 0.24, 0.38), HEADLIGHT),
        (_rectangle(0.76, 0.1, 0.97, 0.38), HEADLIGHT),
        (_rectangle(0.36, 0.55, 0.64, 0.72), PLATE),
    ]
    # Once around from the rear's foot: rear, boot, belt, hood, nose, floor.
    body = _prism(
        [
            (back + 0.04, bottom),
            (back, waist * 0.97),
            (back + tail + 0.1, waist),
            (windshield_base, waist),
            (front - 0.12, hood),
            (front, bottom + 0.12),
            (front - 0.1, bottom),
        ],
        half,
        paint,
        side=side,
        strips={0: rear_strip, 4: front_strip},
        layer=1,
    )
    inset = 0.06
    pillar = roof_front - (roof_front - roof_rear) * rng.uniform(0.4, 0.55)
    top, low = height - 0.09, waist + 0.03
    window_rear: Polygon = [
        (back + tail + 0.22, low),
        (pillar - 0.05, low),
        (pillar - 0.05, top),
        (roof_rear + 0.08, top),
    ]
    window_front: Polygon = [
        (pillar + 0.05, low),
        (windshield_base - 0.25, low),
        (roof_front - 0.05, top),
        (pillar + 0.05, top),
    ]
    screen = [(_rectangle(inset, 0.08, 1 - inset, 0.92), glass * 1.1)]
    panes: list[Detail] = [(window_rear, glass), (window_front, glass)]
    if street:
        panes += [_reflection(window_rear, glass), _reflection(window_front, glass)]
        screen.append((_rectangle(2 * inset, 0.5, 1 - 2 * inset, 0.88), np.minimum(glass * 1.5 + 18, 255.0)))
    cabin = _prism(
        [
            (back + tail + 0.04, waist - 0.02),
            (roof_rear, height),
            (roof_front, height),
            (windshield_base, waist - 0.02),
        ],
        [0.96 * half, 0.74 * half, 0.74 * half, 0.96 * half],
        paint,
        side=panes,
        strips={0: screen, 2: screen},
        layer=2,
    )
    return Model("car", length, width, height, (*_underbody(length, half, radius, axles), body, cabin), gloss=1.0)


def van(rng: np.random.Generator, *, street: bool = False) -> Model:
    """One tall box with a short sloping nose: a delivery van without side windows or a minibus with them."""
    length, width, height = rng.uniform(4.6, 6.0), rng.uniform(1.85, 2.05), rng.uniform(2.1, 2.7)
    paint, glass = _street_paint(rng) if street else _paint(rng), _glass(rng)
    back, front, half = -length / 2, length / 2, width / 2
    radius, bottom = rng.uniform(0.32, 0.37), 0.25
    axles = (back + 0.2 * length, front - 0.16 * length)
    nose, waist = height * rng.uniform(0.4, 0.47), height * 0.53
    base, roof = front - rng.uniform(0.55, 0.85), front - rng.uniform(1.1, 1.6)
    minibus = rng.random() < 0.45
    side: list[Detail] = [(_rectangle(back + 0.05, bottom, front - 0.05, bottom + 0.16), BLACK * 1.6)]
    window_top = height - 0.28
    side.append(
        ([(roof - 0.35, waist), (base - 0.12, waist), (roof - 0.02, window_top), (roof - 0.35, window_top)], glass)
    )
    doors = np.linspace(back + 0.12, roof - 0.45, 4)
    if minibus:
        side += [(_rectangle(a + 0.04, waist, b - 0.04, window_top), glass) for a, b in itertools.pairwise(doors)]
    else:
        logo = _any_colour(rng)
        if rng.random() < 0.6:
            a, b = doors[0] + 0.3, doors[2]
            side.append((_rectangle(a, waist - 0.2, b, waist + rng.uniform(0.1, 0.4)), logo))
            side.append((_rectangle(a + 0.2, waist - 0.1, b - 0.3, waist), paint))
    side += [(_rectangle(a, bottom + 0.16, a + 0.03, height - 0.15), paint * 0.5) for a in (doors[2], roof - 0.4)]
    side.append((_rectangle(back, 0.75, back + 0.12, 1.3), TAIL_LIGHT))
    for a in axles:
        side += [(_disc(a, radius, 1.18 * radius), BLACK), *_wheel(a, radius)]
    rear: list[Detail] = [
        (_rectangle(0.0, 0.0, 1.0, 0.1), BLACK * 1.6),
        (_rectangle(0.49, 0.1, 0.51, 0.97), paint * 0.4),
        (_rectangle(0.01, 0.22, 0.09, 0.5), TAIL_LIGHT),
        (_rectangle(0.91, 0.22, 0.99, 0.5), TAIL_LIGHT),
        (_rectangle(0.36, 0.16, 0.64, 0.24), PLATE),
    ]
    if minibus or rng.random() < 0.5:
        rear += [(_rectangle(0.1, 0.56, 0.46, 0.86), glass), (_rectangle(0.54, 0.56, 0.9, 0.86), glass)]
    face: list[Detail] = [
        (_rectangle(0.0, 0.75, 1.0, 1.0), BLACK * 1.6),
        (_rectangle(0.28, 0.15, 0.72, 0.5), BLACK * 1.3),
        (_rectangle(0.02, 0.12, 0.22, 0.5), HEADLIGHT),
        (_rectangle(0.78, 0.12, 0.98, 0.5), HEADLIGHT),
        (_rectangle(0.36, 0.6, 0.64, 0.76), PLATE),
    ]
    body = _prism(
        [
            (back, bottom),
            (back + 0.06, height),
            (roof, height),
            (base, waist - 0.05),
            (front - 0.05, nose),
            (front, bottom),
        ],
        [half, 0.93 * half, 0.93 * half, half, half, half],
        paint,
        side=side,
        strips={0: rear, 2: [(_rectangle(0.06, 0.12, 0.94, 0.95), glass * 1.1)], 4: face},
        layer=1,
    )
    return Model("van", length, width, height, (*_underbody(length, half, radius, axles), body), gloss=0.7)


def truck(rng: np.random.Generator, *, street: bool = False) -> Model:
    """A cab, a frame with two to four axles, and a load: box, curtain sides, tank or tipper."""
    length, width, height = rng.uniform(6.0, 10.0), rng.uniform(2.3, 2.55), rng.uniform(3.1, 3.9)
    paint, glass, half = _street_paint(rng) if street else _paint(rng), _glass(rng), width / 2
    back, front = -length / 2, length / 2
    cab_back = front - rng.uniform(1.7, 2.3)
    cab_top = rng.uniform(2.6, min(3.3, height))
    radius, deck = rng.uniform(0.46, 0.54), 1.15
    axles = [front - 0.9, back + 1.2]
    if length > 7.5:
        axles.append(back + 2.4)
    wheels = [detail for a in axles for detail in _wheel(a, radius, RIM * rng.uniform(0.5, 1.0))]
    parts: list[Solid | Rounded] = list(_underbody(length, half, radius, axles))
    waist = cab_top * 0.58
    cab_face: list[Detail] = [
        (_rectangle(0.05, 0.52, 0.95, 0.88), glass * 1.1),
        (_rectangle(0.2, 0.2, 0.8, 0.45), BLACK * 1.5),
        (_rectangle(0.0, 0.0, 1.0, 0.15), paint * 0.5),
        (_rectangle(0.03, 0.03, 0.2, 0.13), HEADLIGHT),
        (_rectangle(0.8, 0.03, 0.97, 0.13), HEADLIGHT),
    ]
    cab_side: list[Detail] = [
        (_rectangle(cab_back + 0.5, waist, front - 0.2, cab_top - 0.3), glass),
        (_rectangle(cab_back + 0.45, 0.7, cab_back + 0.48, cab_top - 0.25), paint * 0.5),
        (_rectangle(cab_back + 0.3, 0.45, front, 0.62), BLACK * 1.4),
    ]
    parts.append(_box(cab_back, front, 0.97 * half, 0.5, cab_top, paint, side=cab_side, strips={1: cab_face}, layer=2))
    end = cab_back - rng.uniform(0.1, 0.3)
    frame_side = [(_rectangle(back + 0.1, 0.6, end, deck), BLACK * 1.3), *wheels]
    tail: list[Detail] = [
        (_rectangle(0.03, 0.3, 0.16, 0.75), TAIL_LIGHT),
        (_rectangle(0.84, 0.3, 0.97, 0.75), TAIL_LIGHT),
        (_rectangle(0.4, 0.35, 0.6, 0.7), PLATE),
    ]
    parts.append(_box(back, front - 0.1, half, 0.6, deck, BLACK * 1.8, side=frame_side, strips={3: tail}, layer=1))
    cargo = _any_colour(rng, 0.9) if rng.random() < 0.6 else np.full(3, rng.uniform(150, 245))
    kind = rng.choice(["box", "curtain", "tank", "tipper"], p=[0.4, 0.25, 0.15, 0.2])
    if kind == "tank":
        middle, r = 0.5 * (deck + height), 0.5 * (height - deck)
        angles = np.arange(10) * 2 * np.pi / 10 + np.pi / 10
        ring = [(float(r * np.sin(t)), float(middle + r * np.cos(t))) for t in angles]
        rear = np.array([[back, b, h] for b, h in ring])
        ahead = np.array([[end, b, h] for b, h in ring])
        sheets = [Face(np.array([rear[i], rear[i - 1], ahead[i - 1], ahead[i]]), cargo) for i in range(10)]
        parts.append(Solid((Face(rear, cargo), Face(ahead, cargo), *sheets), 2))
    else:
        top = height if kind != "tipper" else rng.uniform(1.9, 2.4)
        side: list[Detail] = []
        if kind == "box":
            a, b = sorted(rng.uniform(back + 0.4, end - 0.4, 2))
            side.append((_rectangle(a, rng.uniform(1.5, 2.0), b, rng.uniform(2.3, height - 0.3)), _any_colour(rng)))
        else:
            ribs = np.arange(back + 0.3, end, 0.7)
            side += [(_rectangle(a, deck, a + 0.08, top), cargo * (0.7 if kind == "curtain" else 0.55)) for a in ribs]
        doors: list[Detail] = [
            (_rectangle(0.49, 0.0, 0.51, 1.0), cargo * 0.4),
            (_rectangle(0.28, 0.02, 0.31, 0.98), cargo * 0.6),
            (_rectangle(0.69, 0.02, 0.72, 0.98), cargo * 0.6),
        ]
        parts.append(_box(back, end, half, deck, top, cargo, side=side, strips={3: doors}, layer=2))
    return Model("truck", length, width, height, tuple(parts), gloss=0.3)


def tram(rng: np.random.Generator) -> Model:
    """Long and high, a band of windows the whole length, doors, stripes, no wheels to be seen, a pantograph."""
    length, width, height = rng.uniform(11.0, 20.0), rng.uniform(2.3, 2.6), rng.uniform(3.2, 3.6)
    upper, lower = _any_colour(rng), _any_colour(rng)
    if rng.random() < 0.5:
        upper = np.full(3, rng.uniform(190, 245))
    stripe, glass, half = _any_colour(rng), _glass(rng), width / 2
    back, front = -length / 2, length / 2
    sill, lintel = rng.uniform(1.3, 1.5), height - rng.uniform(0.5, 0.8)
    side: list[Detail] = [
        (_rectangle(back + 0.2, 0.25, front - 0.2, sill - 0.15), lower),
        (_rectangle(back + 0.2, sill - 0.32, front - 0.2, sill - 0.15), stripe),
        (_rectangle(back + 0.3, sill, front - 0.3, lintel), glass),
        (_rectangle(back + 0.2, 0.25, front - 0.2, 0.45), BLACK * 1.4),
    ]
    step = rng.uniform(1.2, 1.9)
    side += [(_rectangle(a, sill, a + 0.1, lintel), upper * 0.8) for a in np.arange(back + 1.2, front - 0.8, step)]
    for a in np.arange(back + rng.uniform(1.5, 3.0), front - 1.8, rng.uniform(4.0, 6.0)):
        side += [
            (_rectangle(a, 0.35, a + 1.3, lintel), stripe * 0.8),
            (_rectangle(a + 0.08, 0.6, a + 0.6, lintel - 0.1), glass * 0.8),
            (_rectangle(a + 0.7, 0.6, a + 1.22, lintel - 0.1), glass * 0.8),
        ]
    if length > 14:
        side.append((_rectangle(-0.3, 0.25, 0.3, height), BLACK * 2.2))
    screen = (_rectangle(0.06, 0.4, 0.94, 0.8), glass * 1.1)
    board = (_rectangle(0.25, 0.85, 0.75, 0.96), np.array([240.0, 170.0, 40.0]) if rng.random() < 0.6 else BLACK)
    base = (_rectangle(0.0, 0.0, 1.0, 0.3), lower)
    band = (_rectangle(0.0, 0.28, 1.0, 0.34), stripe)
    lamps = [HEADLIGHT, TAIL_LIGHT]
    ends = [
        [base, band, screen, board, *[(_rectangle(a, 0.14, a + 0.14, 0.24), tint) for a in (0.08, 0.78)]]
        for tint in lamps
    ]
    profile = [
        (back + 0.1, 0.25),
        (front - 0.1, 0.25),
        (front, sill),
        (front - 0.45, height - 0.1),
        (front - 0.7, height),
        (back + 0.7, height),
        (back + 0.45, height - 0.1),
        (back, sill),
    ]
    # The ends are drawn as one sheet each, so that a windscreen may cross the bend of the profile.
    hull = _prism(profile, half, upper, side=side, layer=1)
    sheets = []
    for reach, details in ((front - 0.02, ends[0]), (back + 0.02, ends[1])):
        inward = -0.4 * np.sign(reach)
        corners = np.array(
            [
                [reach, -half, 0.3],
                [reach, half, 0.3],
                [reach + inward, half, height - 0.1],
                [reach + inward, -half, height - 0.1],
            ]
        )
        sheets.append(Face(corners, upper, tuple(Face(_on_quad(corners, polygon), tint) for polygon, tint in details)))
    faces = [face for face in hull.faces if not _is_end(face, back, front)]
    body = Solid((*faces, *sheets), 1)
    spot = rng.uniform(-0.2, 0.2) * length
    # Drawn first: the camera stands lower than any roof, which hides what lies behind its edge.
    arms = [
        _limb((spot - 0.6, 0.0, height), (spot + 0.5, 0.0, height + 0.45), 0.05, 0.05, BLACK * 2),
        _limb((spot + 0.5, 0.0, height + 0.45), (spot - 0.3, 0.0, height + 0.9), 0.05, 0.05, BLACK * 2),
        _limb((spot - 0.3, -0.8, height + 0.9), (spot - 0.3, 0.8, height + 0.9), 0.05, 0.05, BLACK * 2),
    ]
    return Model("tram", length, width, height + 0.95, (body, *arms), gloss=0.5)


def _is_end(face: Face, back: float, front: float) -> bool:
    forward = face.points[:, 0]
    return bool((forward > front - 0.5).all() or (forward < back + 0.5).all())


# People


def _torso(x: float, hip: float, shoulder: float, lean: float, build: float, colour: Colour, layer: int = 0) -> Rounded:
    wide, waist = 0.17 * build, 0.11 * build
    spheres = [
        [x + lean, -wide, shoulder, 0.08 * build],
        [x + lean, wide, shoulder, 0.08 * build],
        [x, -waist, hip, 0.1 * build],
        [x, waist, hip, 0.1 * build],
    ]
    return Rounded(np.array(spheres), colour, layer)


def _head(x: float, height: float, rng: np.random.Generator, scale: float, hair: Colour, layer: int) -> list[Rounded]:
    skin = SKIN[rng.integers(len(SKIN))]
    r = 0.105 * scale
    return [
        _limb((x - 0.01, 0.0, height - 2.1 * r), (x, 0.0, height - 1.2 * r), 0.55 * r, 0.6 * r, skin * 0.85, layer),
        Rounded(
            np.array([[x, 0.0, height - 0.9 * r, 0.9 * r], [x + 0.01, 0.0, height - 1.3 * r, 0.75 * r]]), skin, layer
        ),
        # The hair lies to the rear: seen from behind it comes later in the order of depth and covers the head.
        Rounded(
            np.array(
                [[x - 0.35 * r, 0.0, height - 0.75 * r, 0.95 * r], [x - 0.45 * r, 0.0, height - 1.2 * r, 0.7 * r]]
            ),
            hair,
            layer,
        ),
    ]


def pedestrian(rng: np.random.Generator) -> Model:
    height = rng.uniform(1.55, 1.9) if rng.random() < 0.85 else rng.uniform(1.15, 1.45)
    build, s = rng.uniform(0.9, 1.25), height / 1.75
    hip, shoulder = 0.5 * height, 0.8 * height
    stride = rng.uniform(0.0, 0.42) * s
    top, bottom = _any_colour(rng), _any_colour(rng, 0.6) * rng.uniform(0.4, 1.0)
    shoes, skin = BLACK * rng.uniform(0.7, 5.0), SKIN[rng.integers(len(SKIN))]
    parts: list[Solid | Rounded] = []
    for sign, leg in ((-1.0, stride / 2), (1.0, -stride / 2)):
        side = 0.09 * s * build * sign
        ankle = (leg * 1.15 - 0.05, side, 0.08 + (0.1 * stride if leg < 0 else 0.0))
        knee = (leg * 0.5 + 0.06 * stride, side, 0.27 * height)
        parts.append(_limb((0.0, side, hip), knee, 0.095 * s * build, 0.07 * s, bottom))
        parts.append(_limb(knee, ankle, 0.068 * s, 0.05 * s, bottom))
        parts.append(_limb(ankle, (ankle[0] + 0.17 * s, side, 0.05), 0.055 * s, 0.045 * s, shoes))
        swing = -leg * rng.uniform(0.5, 1.1)
        reach = 0.22 * s * build * sign
        bent = rng.uniform(0.0, 0.25)
        elbow = (swing * 0.6, reach * 1.15, 0.62 * height)
        hand = (swing * 1.2 + bent, reach * 1.1, 0.48 * height + 0.5 * bent)
        parts.append(_limb((0.0, reach, shoulder), elbow, 0.06 * s, 0.05 * s, top * 0.92))
        parts.append(_limb(elbow, hand, 0.048 * s, 0.04 * s, top * 0.92 if rng.random() < 0.7 else skin))
        parts.append(_ball(*hand, 0.045 * s, skin))
    if rng.random() < 0.25:
        skirt = np.array(
            [
                [0.0, -0.1, hip + 0.05, 0.11],
                [0.0, 0.1, hip + 0.05, 0.11],
                [0.0, -0.16, 0.3 * height, 0.1],
                [0.0, 0.16, 0.3 * height, 0.1],
            ]
        )
        parts.append(Rounded(skirt * s, top if rng.random() < 0.5 else bottom))
    parts.append(_torso(0.0, hip, shoulder, 0.03, s * build, top))
    if rng.random() < 0.3:
        bag = np.array([[-0.2, 0.0, shoulder - 0.08, 0.14 * s], [-0.2, 0.0, hip + 0.15, 0.14 * s]])
        parts.append(Rounded(bag, _any_colour(rng)))
    parts += _head(0.03, height, rng, s, HAIR[rng.integers(len(HAIR))] if rng.random() < 0.75 else _any_colour(rng), 1)
    return Model("pedestrian", 0.6 * s, 0.55 * s, height, tuple(parts))


def cyclist(rng: np.random.Generator) -> Model:
    r, base = rng.uniform(0.31, 0.35), rng.uniform(0.98, 1.1)
    rear, ahead = -base / 2, base / 2
    frame = _any_colour(rng)
    tyre = TYRE * rng.uniform(0.7, 1.6)
    parts: list[Solid | Rounded] = []
    for a in (rear, ahead):
        outer = np.array([[p, 0.0, h] for p, h in _disc(a, r, r, 18)])
        inner = np.array([[p, 0.0, h] for p, h in _disc(a, r, 0.86 * r, 18)])
        hub = np.array([[p, 0.0, h] for p, h in _disc(a, r, 0.1 * r, 8)])
        # A ball of the wheel's tread keeps something to be seen of a wheel looked at along its plane.
        parts.append(_limb((a, 0.0, 0.05), (a, 0.0, 2 * r - 0.05), 0.035, 0.035, tyre))
        spokes = Face(inner, RIM * 0.9, opacity=0.35)
        parts.append(Solid((Face(outer, tyre, (spokes, Face(hub, RIM * 0.7))),), convex=False))
    seat, crank, bar = (rear + 0.32, 0.0, 0.92), (-0.03, 0.0, 0.29), (ahead - 0.18, 0.0, 1.0)
    tubes = [
        (seat, crank),
        (crank, (ahead - 0.14, 0.0, 0.85)),
        ((rear + 0.3, 0.0, 0.82), (ahead - 0.14, 0.0, 0.88)),
        (crank, (rear, 0.0, r)),
        ((rear + 0.3, 0.0, 0.82), (rear, 0.0, r)),
        (bar, (ahead, 0.0, r)),
    ]
    parts += [_limb(a, b, 0.026, 0.026, frame, 1) for a, b in tubes]
    parts.append(_limb((bar[0], -0.27, 1.03), (bar[0], 0.27, 1.03), 0.025, 0.025, BLACK, 1))
    parts.append(_limb((seat[0] - 0.1, 0.0, 0.95), (seat[0] + 0.12, 0.0, 0.96), 0.07, 0.04, BLACK, 1))
    s, build = rng.uniform(0.9, 1.08), rng.uniform(0.9, 1.2)
    lean = rng.uniform(0.18, 0.42)
    hip = (seat[0], 1.02)
    shoulder = (hip[0] + lean, hip[1] + 0.5 * s)
    top, bottom = _any_colour(rng), _any_colour(rng, 0.6) * rng.uniform(0.4, 1.0)
    skin = SKIN[rng.integers(len(SKIN))]
    turn = rng.uniform(0, 2 * np.pi)
    for sign in (-1.0, 1.0):
        phase = turn if sign < 0 else turn + np.pi
        foot = (crank[0] + 0.17 * float(np.cos(phase)), 0.11 * sign, crank[2] + 0.17 * float(np.sin(phase)))
        knee = (0.5 * (hip[0] + foot[0]) + 0.26, 0.11 * sign, 0.5 * (hip[1] + foot[2]) + 0.1)
        parts.append(_limb((hip[0], 0.1 * sign, hip[1]), knee, 0.095 * build, 0.07, bottom, 2))
        parts.append(_limb(knee, foot, 0.068, 0.05, bottom if rng.random() < 0.6 else skin, 2))
        parts.append(_limb(foot, (foot[0] + 0.16, foot[1], foot[2] - 0.02), 0.05, 0.04, BLACK * 2, 2))
        arm = (shoulder[0], 0.19 * sign * build, shoulder[1])
        elbow = (0.5 * (shoulder[0] + bar[0]), 0.27 * sign, 0.5 * (shoulder[1] + 1.03) - 0.04)
        parts.append(_limb(arm, elbow, 0.06, 0.05, top * 0.92, 2))
        parts.append(
            _limb(elbow, (bar[0], 0.23 * sign, 1.05), 0.05, 0.04, top * 0.92 if rng.random() < 0.5 else skin, 2)
        )
    spheres = [
        [hip[0], -0.1, hip[1], 0.11],
        [hip[0], 0.1, hip[1], 0.11],
        [shoulder[0], -0.16, shoulder[1], 0.08],
        [shoulder[0], 0.16, shoulder[1], 0.08],
    ]
    parts.append(Rounded(np.array(spheres) * [1, build, 1, build], top, 2))
    if rng.random() < 0.25:
        parts.append(
            Rounded(
                np.array(
                    [[hip[0] - 0.08, 0.0, hip[1] + 0.15, 0.13], [shoulder[0] - 0.18, 0.0, shoulder[1] - 0.05, 0.13]]
                ),
                _any_colour(rng),
                2,
            )
        )
    crown = shoulder[1] + 0.33 * s
    helmet = _any_colour(rng) if rng.random() < 0.6 else HAIR[rng.integers(len(HAIR))]
    parts += _head(shoulder[0] + 0.1, crown, rng, s, helmet, 3)
    return Model("cyclist", base + 2 * r, 0.6, crown, tuple(parts))


# Everything else


def misc(rng: np.random.Generator) -> Model:
    """What KITTI calls misc is a mixture; here trailers, skips and small excavators."""
    return (_trailer, _skip, _excavator)[rng.integers(3)](rng)


def _trailer(rng: np.random.Generator) -> Model:
    bed, width = rng.uniform(2.0, 3.4), rng.uniform(1.4, 1.9)
    half, length = width / 2, bed + 1.2
    colour, radius = _any_colour(rng), rng.uniform(0.28, 0.34)
    back = -length / 2
    front, rim = back + bed, rng.uniform(0.85, 1.15)
    wheel = _wheel(back + 0.5 * bed, radius)
    ribs = [(_rectangle(a, 0.5, a + 0.06, rim), colour * 0.6) for a in np.linspace(back + 0.3, front - 0.3, 4)]
    tail: list[Detail] = [(_rectangle(a, 0.1, a + 0.12, 0.4), TAIL_LIGHT) for a in (0.03, 0.85)]
    parts: list[Solid | Rounded] = [
        *_underbody(bed * 0.6, half, radius, ()),
        _limb((front, 0.0, 0.5), (length / 2, 0.0, 0.48), 0.06, 0.05, BLACK * 2),
        _limb((length / 2 - 0.2, 0.0, 0.5), (length / 2 - 0.2, 0.0, 0.06), 0.04, 0.06, BLACK * 2),
        _box(back, front, half, 0.45, rim, colour, side=[*ribs, *wheel], strips={3: tail}, layer=1),
    ]
    height = rim
    load = rng.choice(["none", "tarpaulin", "crates"])
    if load == "tarpaulin":
        height = rim + rng.uniform(0.4, 0.9)
        ridge = 0.5 * (rim + height)
        cover = [
            (back + 0.02, rim),
            (front - 0.02, rim),
            (front - 0.2, ridge),
            (front - 0.4, height),
            (back + 0.2, height),
        ]
        parts.append(_prism(cover, [half, half, 0.95 * half, 0.7 * half, 0.7 * half], _any_colour(rng), layer=2))
    elif load == "crates":
        for _ in range(rng.integers(2, 5)):
            a, b, size = rng.uniform(back + 0.4, front - 0.4), rng.uniform(-0.5, 0.5) * half, rng.uniform(0.3, 0.6)
            corners = np.array(
                [
                    [a - size / 2, b - size / 2],
                    [a + size / 2, b - size / 2],
                    [a + size / 2, b + size / 2],
                    [a - size / 2, b + size / 2],
                ]
            )
            ring = [np.column_stack([corners, np.full(4, h)]) for h in (rim - 0.1, rim + size)]
            sides = [
                Face(np.array([ring[0][i], ring[0][i - 1], ring[1][i - 1], ring[1][i]]), _hsv(0.09, 0.5, 0.7))
                for i in range(4)
            ]
            parts.append(Solid((*sides, Face(ring[1], _hsv(0.09, 0.4, 0.8))), 2))
            height = max(height, rim + size)
    return Model("misc", length, width, height, tuple(parts))


def _skip(rng: np.random.Generator) -> Model:
    """A container for rubble: wider at the rim than at the foot, with ribs and a heap."""
    length, width, height = rng.uniform(2.6, 3.8), rng.uniform(1.6, 1.9), rng.uniform(1.2, 1.6)
    colour, half, a = _any_colour(rng), width / 2, length / 2
    foot = a * rng.uniform(0.5, 0.65)
    ribs = [
        ([(x, 0.1), (x + 0.1, 0.1), (1.35 * x + 0.1, height), (1.35 * x, height)], colour * 0.6)
        for x in (-0.5 * foot, 0.4 * foot)
    ]
    rim = (_rectangle(-0.95 * a, height - 0.14, 0.95 * a, height), colour * 1.25)
    stripes = [
        (
            _rectangle(-0.8 * a + 0.3 * k, height - 0.12, -0.8 * a + 0.3 * k + 0.15, height - 0.02),
            np.array([230.0, 60, 40]),
        )
        for k in range(int(5 * a))
    ]
    marked = stripes if rng.random() < 0.5 else []
    band = [(_rectangle(0.0, 0.85, 1.0, 1.0), colour * 1.25), (_rectangle(0.2, 0.2, 0.8, 0.3), colour * 0.6)]
    body = _prism(
        [(-foot, 0.08), (foot, 0.08), (a, height), (-a, height)],
        [0.85 * half, 0.85 * half, half, half],
        colour,
        side=[*ribs, rim, *marked],
        strips={1: band},
        strip_colours={2: BLACK * 2},
    )
    rubble = _hsv(0.08, 0.3, rng.uniform(0.3, 0.7))
    heap = [
        _ball(
            rng.uniform(-0.6, 0.6) * a, rng.uniform(-0.5, 0.5) * half, height - 0.05, rng.uniform(0.2, 0.35), rubble, 1
        )
        for _ in range(5)
    ]
    parts: tuple[Solid | Rounded, ...] = (body, *heap) if rng.random() < 0.6 else (body,)
    return Model("misc", length, width, height + 0.2, parts)


def _excavator(rng: np.random.Generator) -> Model:
    """Tracks, a turning house with a cab, a bent arm with a bucket."""
    colour = _hsv(
        float(rng.choice([0.12, 0.09, 0.14, rng.uniform()])), rng.uniform(0.75, 0.95), rng.uniform(0.75, 0.95)
    )
    track: Polygon = [(-0.95, 0.0), (0.95, 0.0), (1.15, 0.25), (0.95, 0.5), (-0.95, 0.5), (-1.15, 0.25)]
    rollers = [(_disc(x, 0.25, 0.17, 10), RIM * 0.5) for x in (-0.8, -0.4, 0.0, 0.4, 0.8)]
    glass = _glass(rng)
    cab_top = rng.uniform(1.9, 2.3)
    house = _box(-1.05, 0.5, 0.75, 0.55, 1.15, colour, side=[(_rectangle(-1.0, 0.6, 0.4, 0.7), BLACK)], layer=1)
    panes = [(_rectangle(-0.25, 1.25, 0.32, cab_top - 0.12), glass)]
    pane = [(_rectangle(0.1, 0.15, 0.9, 0.9), glass)]
    cab = _box(-0.35, 0.42, 0.55, 1.1, cab_top, colour, side=panes, strips={1: pane, 3: pane}, layer=2)
    elbow = (rng.uniform(1.1, 1.5), 0.0, rng.uniform(2.1, 2.8))
    hand = (elbow[0] + rng.uniform(0.4, 0.8), 0.0, rng.uniform(0.6, 1.3))
    arm = [
        _limb((0.5, 0.0, 0.9), elbow, 0.16, 0.12, colour, 3),
        _limb(elbow, hand, 0.12, 0.09, colour * 0.9, 3),
        Rounded(
            np.array(
                [
                    [hand[0], -0.3, hand[2] - 0.15, 0.1],
                    [hand[0], 0.3, hand[2] - 0.15, 0.1],
                    [hand[0] - 0.4, -0.3, hand[2] - 0.3, 0.12],
                    [hand[0] - 0.4, 0.3, hand[2] - 0.3, 0.12],
                ]
            ),
            BLACK * 3,
            3,
        ),
    ]
    tracks = _prism(track, 0.8, BLACK * 1.8, side=rollers)
    return Model("misc", 2 * (hand[0] + 0.1), 1.6, max(cab_top, elbow[2]), (tracks, house, cab, *arm))


CLASSES: dict[str, Callable[[np.random.Generator], Model]] = {
    "cyclist": cyclist,
    "pedestrian": pedestrian,
    "car": car,
    "tram": tram,
    "truck": truck,
    "van": van,
    "misc": misc,
}
"""Class name, in KINS' order, to the function that makes one."""

STREET_CLASSES = CLASSES | {
    "car": functools.partial(car, street=True),
    "truck": functools.partial(truck, street=True),
    "van": functools.partial(van, street=True),
}
"""The same, vehicles in the colours that most of them have."""
