"""KINS' class misc as models: trailers, skips and excavators."""

from __future__ import annotations

import numpy as np

from data.synthetic.objects.paint import BLACK, RIM, TAIL_LIGHT, hsv_colour, sample_colour, sample_glass
from data.synthetic.objects.parts import (
    Detail,
    Polygon,
    ball_solid,
    box_solid,
    disc,
    limb_solid,
    prism_solid,
    rectangle,
    underbody_solids,
    wheel_details,
)
from data.synthetic.solids import Face, Model, Rounded, Solid


def misc(rng: np.random.Generator) -> Model:
    """What KITTI calls misc is a mixture; here trailers, skips and small excavators."""
    return (_trailer, _skip, _excavator)[rng.integers(3)](rng)


def _trailer(rng: np.random.Generator) -> Model:
    bed, width = rng.uniform(2.0, 3.4), rng.uniform(1.4, 1.9)
    half, length = width / 2, bed + 1.2
    colour, radius = sample_colour(rng), rng.uniform(0.28, 0.34)
    back = -length / 2
    front, rim = back + bed, rng.uniform(0.85, 1.15)
    wheel = wheel_details(back + 0.5 * bed, radius)
    ribs = [(rectangle(a, 0.5, a + 0.06, rim), colour * 0.6) for a in np.linspace(back + 0.3, front - 0.3, 4)]
    tail: list[Detail] = [(rectangle(a, 0.1, a + 0.12, 0.4), TAIL_LIGHT) for a in (0.03, 0.85)]
    parts: list[Solid | Rounded] = [
        *underbody_solids(bed * 0.6, half, radius, ()),
        limb_solid((front, 0.0, 0.5), (length / 2, 0.0, 0.48), 0.06, 0.05, BLACK * 2),
        limb_solid((length / 2 - 0.2, 0.0, 0.5), (length / 2 - 0.2, 0.0, 0.06), 0.04, 0.06, BLACK * 2),
        box_solid(back, front, half, 0.45, rim, colour, side=[*ribs, *wheel], strips={3: tail}, layer=1),
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
        parts.append(prism_solid(cover, [half, half, 0.95 * half, 0.7 * half, 0.7 * half], sample_colour(rng), layer=2))
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
                Face(np.array([ring[0][i], ring[0][i - 1], ring[1][i - 1], ring[1][i]]), hsv_colour(0.09, 0.5, 0.7))
                for i in range(4)
            ]
            parts.append(Solid((*sides, Face(ring[1], hsv_colour(0.09, 0.4, 0.8))), 2))
            height = max(height, rim + size)
    return Model("misc", length, width, height, tuple(parts))


def _skip(rng: np.random.Generator) -> Model:
    """A container for rubble: wider at the rim than at the foot, with ribs and a heap."""
    length, width, height = rng.uniform(2.6, 3.8), rng.uniform(1.6, 1.9), rng.uniform(1.2, 1.6)
    colour, half, a = sample_colour(rng), width / 2, length / 2
    foot = a * rng.uniform(0.5, 0.65)
    ribs = [
        ([(x, 0.1), (x + 0.1, 0.1), (1.35 * x + 0.1, height), (1.35 * x, height)], colour * 0.6)
        for x in (-0.5 * foot, 0.4 * foot)
    ]
    rim = (rectangle(-0.95 * a, height - 0.14, 0.95 * a, height), colour * 1.25)
    stripes = [
        (
            rectangle(-0.8 * a + 0.3 * k, height - 0.12, -0.8 * a + 0.3 * k + 0.15, height - 0.02),
            np.array([230.0, 60, 40]),
        )
        for k in range(int(5 * a))
    ]
    marked = stripes if rng.random() < 0.5 else []
    band = [(rectangle(0.0, 0.85, 1.0, 1.0), colour * 1.25), (rectangle(0.2, 0.2, 0.8, 0.3), colour * 0.6)]
    body = prism_solid(
        [(-foot, 0.08), (foot, 0.08), (a, height), (-a, height)],
        [0.85 * half, 0.85 * half, half, half],
        colour,
        side=[*ribs, rim, *marked],
        strips={1: band},
        strip_colours={2: BLACK * 2},
    )
    rubble = hsv_colour(0.08, 0.3, rng.uniform(0.3, 0.7))
    heap = [
        ball_solid(
            rng.uniform(-0.6, 0.6) * a, rng.uniform(-0.5, 0.5) * half, height - 0.05, rng.uniform(0.2, 0.35), rubble, 1
        )
        for _ in range(5)
    ]
    parts: tuple[Solid | Rounded, ...] = (body, *heap) if rng.random() < 0.6 else (body,)
    return Model("misc", length, width, height + 0.2, parts)


def _excavator(rng: np.random.Generator) -> Model:
    """Tracks, a turning house with a cab, a bent arm with a bucket."""
    colour = hsv_colour(
        float(rng.choice([0.12, 0.09, 0.14, rng.uniform()])), rng.uniform(0.75, 0.95), rng.uniform(0.75, 0.95)
    )
    track: Polygon = [(-0.95, 0.0), (0.95, 0.0), (1.15, 0.25), (0.95, 0.5), (-0.95, 0.5), (-1.15, 0.25)]
    rollers = [(disc(x, 0.25, 0.17, 10), RIM * 0.5) for x in (-0.8, -0.4, 0.0, 0.4, 0.8)]
    glass = sample_glass(rng)
    cab_top = rng.uniform(1.9, 2.3)
    house = box_solid(-1.05, 0.5, 0.75, 0.55, 1.15, colour, side=[(rectangle(-1.0, 0.6, 0.4, 0.7), BLACK)], layer=1)
    panes = [(rectangle(-0.25, 1.25, 0.32, cab_top - 0.12), glass)]
    pane = [(rectangle(0.1, 0.15, 0.9, 0.9), glass)]
    cab = box_solid(-0.35, 0.42, 0.55, 1.1, cab_top, colour, side=panes, strips={1: pane, 3: pane}, layer=2)
    elbow = (rng.uniform(1.1, 1.5), 0.0, rng.uniform(2.1, 2.8))
    hand = (elbow[0] + rng.uniform(0.4, 0.8), 0.0, rng.uniform(0.6, 1.3))
    arm = [
        limb_solid((0.5, 0.0, 0.9), elbow, 0.16, 0.12, colour, 3),
        limb_solid(elbow, hand, 0.12, 0.09, colour * 0.9, 3),
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
    tracks = prism_solid(track, 0.8, BLACK * 1.8, side=rollers)
    return Model("misc", 2 * (hand[0] + 0.1), 1.6, max(cab_top, elbow[2]), (tracks, house, cab, *arm))
