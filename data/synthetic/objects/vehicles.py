"""Cars, vans, trucks and trams as models: each call draws new proportions, parts and colours."""

from __future__ import annotations

import itertools

import numpy as np

from data.synthetic.objects.paint import (
    BLACK,
    HEADLIGHT,
    PLATE,
    RIM,
    TAIL_LIGHT,
    sample_colour,
    sample_glass,
    sample_paint,
    sample_street_paint,
)
from data.synthetic.objects.parts import (
    Detail,
    Polygon,
    box_solid,
    disc,
    gleam_details,
    limb_solid,
    on_quad,
    prism_solid,
    rectangle,
    reflection_detail,
    underbody_solids,
    wheel_details,
)
from data.synthetic.solids import Face, Model, Rounded, Solid


def car(rng: np.random.Generator, *, street: bool = False) -> Model:
    """With `street` it has a colour as most cars have, and shines."""
    length, width, height = rng.uniform(3.5, 4.8), rng.uniform(1.6, 1.85), rng.uniform(1.38, 1.68)
    paint, glass = sample_street_paint(rng) if street else sample_paint(rng), sample_glass(rng)
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
        (rectangle(back + 0.05, bottom, front - 0.05, bottom + 0.1), BLACK * 1.5),
        (rectangle(door, bottom + 0.1, door + 0.025, waist), paint * 0.45),
        (rectangle(windshield_base - 0.3, bottom + 0.1, windshield_base - 0.275, waist), paint * 0.45),
        (rectangle(door - 0.3, waist - 0.14, door - 0.1, waist - 0.1), BLACK if rng.random() < 0.5 else paint * 1.3),
        (rectangle(back, waist - 0.24, back + 0.2, waist - 0.08), TAIL_LIGHT),
        (rectangle(front - 0.22, hood - 0.22, front, hood - 0.1), HEADLIGHT),
    ]
    if street:
        mirror = rectangle(windshield_base - 0.42, waist - 0.02, windshield_base - 0.2, waist + 0.14)
        side = [*gleam_details(paint, back + 0.03, front - 0.14, hood), *side, (mirror, paint * 0.7)]
    for a in axles:
        side += [(disc(a, radius, 1.2 * radius), BLACK), *wheel_details(a, radius)]
    rear_strip: list[Detail] = [
        (rectangle(0.0, 0.0, 1.0, 0.3), bumper * 0.8),
        (rectangle(0.02, 0.55, 0.2, 0.85), TAIL_LIGHT),
        (rectangle(0.8, 0.55, 0.98, 0.85), TAIL_LIGHT),
        (rectangle(0.36, 0.4, 0.64, 0.58), PLATE),
    ]
    front_strip: list[Detail] = [
        (rectangle(0.0, 0.7, 1.0, 1.0), bumper * 0.8),
        (rectangle(0.3, 0.12, 0.7, 0.42), BLACK * 1.4),
        (rectangle(0.03, 0.1, 0.24, 0.38), HEADLIGHT),
        (rectangle(0.76, 0.1, 0.97, 0.38), HEADLIGHT),
        (rectangle(0.36, 0.55, 0.64, 0.72), PLATE),
    ]
    # Once around from the rear's foot: rear, boot, belt, hood, nose, floor.
    body = prism_solid(
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
    screen = [(rectangle(inset, 0.08, 1 - inset, 0.92), glass * 1.1)]
    panes: list[Detail] = [(window_rear, glass), (window_front, glass)]
    if street:
        panes += [reflection_detail(window_rear, glass), reflection_detail(window_front, glass)]
        screen.append((rectangle(2 * inset, 0.5, 1 - 2 * inset, 0.88), np.minimum(glass * 1.5 + 18, 255.0)))
    cabin = prism_solid(
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
    return Model("car", length, width, height, (*underbody_solids(length, half, radius, axles), body, cabin), gloss=1.0)


def van(rng: np.random.Generator, *, street: bool = False) -> Model:
    """One tall box with a short sloping nose: a delivery van without side windows or a minibus with them."""
    length, width, height = rng.uniform(4.6, 6.0), rng.uniform(1.85, 2.05), rng.uniform(2.1, 2.7)
    paint, glass = sample_street_paint(rng) if street else sample_paint(rng), sample_glass(rng)
    back, front, half = -length / 2, length / 2, width / 2
    radius, bottom = rng.uniform(0.32, 0.37), 0.25
    axles = (back + 0.2 * length, front - 0.16 * length)
    nose, waist = height * rng.uniform(0.4, 0.47), height * 0.53
    base, roof = front - rng.uniform(0.55, 0.85), front - rng.uniform(1.1, 1.6)
    minibus = rng.random() < 0.45
    side: list[Detail] = [(rectangle(back + 0.05, bottom, front - 0.05, bottom + 0.16), BLACK * 1.6)]
    window_top = height - 0.28
    side.append(
        ([(roof - 0.35, waist), (base - 0.12, waist), (roof - 0.02, window_top), (roof - 0.35, window_top)], glass)
    )
    doors = np.linspace(back + 0.12, roof - 0.45, 4)
    if minibus:
        side += [(rectangle(a + 0.04, waist, b - 0.04, window_top), glass) for a, b in itertools.pairwise(doors)]
    else:
        logo = sample_colour(rng)
        if rng.random() < 0.6:
            a, b = doors[0] + 0.3, doors[2]
            side.append((rectangle(a, waist - 0.2, b, waist + rng.uniform(0.1, 0.4)), logo))
            side.append((rectangle(a + 0.2, waist - 0.1, b - 0.3, waist), paint))
    side += [(rectangle(a, bottom + 0.16, a + 0.03, height - 0.15), paint * 0.5) for a in (doors[2], roof - 0.4)]
    side.append((rectangle(back, 0.75, back + 0.12, 1.3), TAIL_LIGHT))
    for a in axles:
        side += [(disc(a, radius, 1.18 * radius), BLACK), *wheel_details(a, radius)]
    rear: list[Detail] = [
        (rectangle(0.0, 0.0, 1.0, 0.1), BLACK * 1.6),
        (rectangle(0.49, 0.1, 0.51, 0.97), paint * 0.4),
        (rectangle(0.01, 0.22, 0.09, 0.5), TAIL_LIGHT),
        (rectangle(0.91, 0.22, 0.99, 0.5), TAIL_LIGHT),
        (rectangle(0.36, 0.16, 0.64, 0.24), PLATE),
    ]
    if minibus or rng.random() < 0.5:
        rear += [(rectangle(0.1, 0.56, 0.46, 0.86), glass), (rectangle(0.54, 0.56, 0.9, 0.86), glass)]
    face: list[Detail] = [
        (rectangle(0.0, 0.75, 1.0, 1.0), BLACK * 1.6),
        (rectangle(0.28, 0.15, 0.72, 0.5), BLACK * 1.3),
        (rectangle(0.02, 0.12, 0.22, 0.5), HEADLIGHT),
        (rectangle(0.78, 0.12, 0.98, 0.5), HEADLIGHT),
        (rectangle(0.36, 0.6, 0.64, 0.76), PLATE),
    ]
    body = prism_solid(
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
        strips={0: rear, 2: [(rectangle(0.06, 0.12, 0.94, 0.95), glass * 1.1)], 4: face},
        layer=1,
    )
    return Model("van", length, width, height, (*underbody_solids(length, half, radius, axles), body), gloss=0.7)


def truck(rng: np.random.Generator, *, street: bool = False) -> Model:
    """A cab, a frame with two to four axles, and a load: box, curtain sides, tank or tipper."""
    length, width, height = rng.uniform(6.0, 10.0), rng.uniform(2.3, 2.55), rng.uniform(3.1, 3.9)
    paint, glass, half = sample_street_paint(rng) if street else sample_paint(rng), sample_glass(rng), width / 2
    back, front = -length / 2, length / 2
    cab_back = front - rng.uniform(1.7, 2.3)
    cab_top = rng.uniform(2.6, min(3.3, height))
    radius, deck = rng.uniform(0.46, 0.54), 1.15
    axles = [front - 0.9, back + 1.2]
    if length > 7.5:
        axles.append(back + 2.4)
    wheels = [detail for a in axles for detail in wheel_details(a, radius, RIM * rng.uniform(0.5, 1.0))]
    parts: list[Solid | Rounded] = list(underbody_solids(length, half, radius, axles))
    waist = cab_top * 0.58
    cab_face: list[Detail] = [
        (rectangle(0.05, 0.52, 0.95, 0.88), glass * 1.1),
        (rectangle(0.2, 0.2, 0.8, 0.45), BLACK * 1.5),
        (rectangle(0.0, 0.0, 1.0, 0.15), paint * 0.5),
        (rectangle(0.03, 0.03, 0.2, 0.13), HEADLIGHT),
        (rectangle(0.8, 0.03, 0.97, 0.13), HEADLIGHT),
    ]
    cab_side: list[Detail] = [
        (rectangle(cab_back + 0.5, waist, front - 0.2, cab_top - 0.3), glass),
        (rectangle(cab_back + 0.45, 0.7, cab_back + 0.48, cab_top - 0.25), paint * 0.5),
        (rectangle(cab_back + 0.3, 0.45, front, 0.62), BLACK * 1.4),
    ]
    parts.append(
        box_solid(cab_back, front, 0.97 * half, 0.5, cab_top, paint, side=cab_side, strips={1: cab_face}, layer=2)
    )
    end = cab_back - rng.uniform(0.1, 0.3)
    frame_side = [(rectangle(back + 0.1, 0.6, end, deck), BLACK * 1.3), *wheels]
    tail: list[Detail] = [
        (rectangle(0.03, 0.3, 0.16, 0.75), TAIL_LIGHT),
        (rectangle(0.84, 0.3, 0.97, 0.75), TAIL_LIGHT),
        (rectangle(0.4, 0.35, 0.6, 0.7), PLATE),
    ]
    parts.append(box_solid(back, front - 0.1, half, 0.6, deck, BLACK * 1.8, side=frame_side, strips={3: tail}, layer=1))
    cargo = sample_colour(rng, 0.9) if rng.random() < 0.6 else np.full(3, rng.uniform(150, 245))
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
            side.append((rectangle(a, rng.uniform(1.5, 2.0), b, rng.uniform(2.3, height - 0.3)), sample_colour(rng)))
        else:
            ribs = np.arange(back + 0.3, end, 0.7)
            side += [(rectangle(a, deck, a + 0.08, top), cargo * (0.7 if kind == "curtain" else 0.55)) for a in ribs]
        doors: list[Detail] = [
            (rectangle(0.49, 0.0, 0.51, 1.0), cargo * 0.4),
            (rectangle(0.28, 0.02, 0.31, 0.98), cargo * 0.6),
            (rectangle(0.69, 0.02, 0.72, 0.98), cargo * 0.6),
        ]
        parts.append(box_solid(back, end, half, deck, top, cargo, side=side, strips={3: doors}, layer=2))
    return Model("truck", length, width, height, tuple(parts), gloss=0.3)


def tram(rng: np.random.Generator) -> Model:
    """Long and high, a band of windows the whole length, doors, stripes, no wheels to be seen, a pantograph."""
    length, width, height = rng.uniform(11.0, 20.0), rng.uniform(2.3, 2.6), rng.uniform(3.2, 3.6)
    upper, lower = sample_colour(rng), sample_colour(rng)
    if rng.random() < 0.5:
        upper = np.full(3, rng.uniform(190, 245))
    stripe, glass, half = sample_colour(rng), sample_glass(rng), width / 2
    back, front = -length / 2, length / 2
    sill, lintel = rng.uniform(1.3, 1.5), height - rng.uniform(0.5, 0.8)
    side: list[Detail] = [
        (rectangle(back + 0.2, 0.25, front - 0.2, sill - 0.15), lower),
        (rectangle(back + 0.2, sill - 0.32, front - 0.2, sill - 0.15), stripe),
        (rectangle(back + 0.3, sill, front - 0.3, lintel), glass),
        (rectangle(back + 0.2, 0.25, front - 0.2, 0.45), BLACK * 1.4),
    ]
    step = rng.uniform(1.2, 1.9)
    side += [(rectangle(a, sill, a + 0.1, lintel), upper * 0.8) for a in np.arange(back + 1.2, front - 0.8, step)]
    for a in np.arange(back + rng.uniform(1.5, 3.0), front - 1.8, rng.uniform(4.0, 6.0)):
        side += [
            (rectangle(a, 0.35, a + 1.3, lintel), stripe * 0.8),
            (rectangle(a + 0.08, 0.6, a + 0.6, lintel - 0.1), glass * 0.8),
            (rectangle(a + 0.7, 0.6, a + 1.22, lintel - 0.1), glass * 0.8),
        ]
    if length > 14:
        side.append((rectangle(-0.3, 0.25, 0.3, height), BLACK * 2.2))
    screen = (rectangle(0.06, 0.4, 0.94, 0.8), glass * 1.1)
    board = (rectangle(0.25, 0.85, 0.75, 0.96), np.array([240.0, 170.0, 40.0]) if rng.random() < 0.6 else BLACK)
    base = (rectangle(0.0, 0.0, 1.0, 0.3), lower)
    band = (rectangle(0.0, 0.28, 1.0, 0.34), stripe)
    lamps = [HEADLIGHT, TAIL_LIGHT]
    ends = [
        [base, band, screen, board, *[(rectangle(a, 0.14, a + 0.14, 0.24), tint) for a in (0.08, 0.78)]]
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
    hull = prism_solid(profile, half, upper, side=side, layer=1)
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
        sheets.append(Face(corners, upper, tuple(Face(on_quad(corners, polygon), tint) for polygon, tint in details)))
    faces = [face for face in hull.faces if not _is_end(face, back, front)]
    body = Solid((*faces, *sheets), 1)
    spot = rng.uniform(-0.2, 0.2) * length
    # Drawn first: the camera stands lower than any roof, which hides what lies behind its edge.
    arms = [
        limb_solid((spot - 0.6, 0.0, height), (spot + 0.5, 0.0, height + 0.45), 0.05, 0.05, BLACK * 2),
        limb_solid((spot + 0.5, 0.0, height + 0.45), (spot - 0.3, 0.0, height + 0.9), 0.05, 0.05, BLACK * 2),
        limb_solid((spot - 0.3, -0.8, height + 0.9), (spot - 0.3, 0.8, height + 0.9), 0.05, 0.05, BLACK * 2),
    ]
    return Model("tram", length, width, height + 0.95, (body, *arms), gloss=0.5)


def _is_end(face: Face, back: float, front: float) -> bool:
    forward = face.points[:, 0]
    return bool((forward > front - 0.5).all() or (forward < back + 0.5).all())
