"""Pedestrians and cyclists as models: each call draws new proportions, postures and colours."""

from __future__ import annotations

import numpy as np

from data.synthetic.objects.paint import BLACK, HAIR, RIM, SKIN, TYRE, sample_colour
from data.synthetic.objects.parts import ball_solid, disc, limb_solid
from data.synthetic.solids import Colour, Face, Model, Rounded, Solid


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
        limb_solid(
            (x - 0.01, 0.0, height - 2.1 * r), (x, 0.0, height - 1.2 * r), 0.55 * r, 0.6 * r, skin * 0.85, layer
        ),
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
    top, bottom = sample_colour(rng), sample_colour(rng, 0.6) * rng.uniform(0.4, 1.0)
    shoes, skin = BLACK * rng.uniform(0.7, 5.0), SKIN[rng.integers(len(SKIN))]
    parts: list[Solid | Rounded] = []
    for sign, leg in ((-1.0, stride / 2), (1.0, -stride / 2)):
        side = 0.09 * s * build * sign
        ankle = (leg * 1.15 - 0.05, side, 0.08 + (0.1 * stride if leg < 0 else 0.0))
        knee = (leg * 0.5 + 0.06 * stride, side, 0.27 * height)
        parts.append(limb_solid((0.0, side, hip), knee, 0.095 * s * build, 0.07 * s, bottom))
        parts.append(limb_solid(knee, ankle, 0.068 * s, 0.05 * s, bottom))
        parts.append(limb_solid(ankle, (ankle[0] + 0.17 * s, side, 0.05), 0.055 * s, 0.045 * s, shoes))
        swing = -leg * rng.uniform(0.5, 1.1)
        reach = 0.22 * s * build * sign
        bent = rng.uniform(0.0, 0.25)
        elbow = (swing * 0.6, reach * 1.15, 0.62 * height)
        hand = (swing * 1.2 + bent, reach * 1.1, 0.48 * height + 0.5 * bent)
        parts.append(limb_solid((0.0, reach, shoulder), elbow, 0.06 * s, 0.05 * s, top * 0.92))
        parts.append(limb_solid(elbow, hand, 0.048 * s, 0.04 * s, top * 0.92 if rng.random() < 0.7 else skin))
        parts.append(ball_solid(*hand, 0.045 * s, skin))
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
        parts.append(Rounded(bag, sample_colour(rng)))
    parts += _head(
        0.03, height, rng, s, HAIR[rng.integers(len(HAIR))] if rng.random() < 0.75 else sample_colour(rng), 1
    )
    return Model("pedestrian", 0.6 * s, 0.55 * s, height, tuple(parts))


def cyclist(rng: np.random.Generator) -> Model:
    r, base = rng.uniform(0.31, 0.35), rng.uniform(0.98, 1.1)
    rear, ahead = -base / 2, base / 2
    frame = sample_colour(rng)
    tyre = TYRE * rng.uniform(0.7, 1.6)
    parts: list[Solid | Rounded] = []
    for a in (rear, ahead):
        outer = np.array([[p, 0.0, h] for p, h in disc(a, r, r, 18)])
        inner = np.array([[p, 0.0, h] for p, h in disc(a, r, 0.86 * r, 18)])
        hub = np.array([[p, 0.0, h] for p, h in disc(a, r, 0.1 * r, 8)])
        # A ball of the wheel's tread keeps something to be seen of a wheel looked at along its plane.
        parts.append(limb_solid((a, 0.0, 0.05), (a, 0.0, 2 * r - 0.05), 0.035, 0.035, tyre))
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
    parts += [limb_solid(a, b, 0.026, 0.026, frame, 1) for a, b in tubes]
    parts.append(limb_solid((bar[0], -0.27, 1.03), (bar[0], 0.27, 1.03), 0.025, 0.025, BLACK, 1))
    parts.append(limb_solid((seat[0] - 0.1, 0.0, 0.95), (seat[0] + 0.12, 0.0, 0.96), 0.07, 0.04, BLACK, 1))
    s, build = rng.uniform(0.9, 1.08), rng.uniform(0.9, 1.2)
    lean = rng.uniform(0.18, 0.42)
    hip = (seat[0], 1.02)
    shoulder = (hip[0] + lean, hip[1] + 0.5 * s)
    top, bottom = sample_colour(rng), sample_colour(rng, 0.6) * rng.uniform(0.4, 1.0)
    skin = SKIN[rng.integers(len(SKIN))]
    turn = rng.uniform(0, 2 * np.pi)
    for sign in (-1.0, 1.0):
        phase = turn if sign < 0 else turn + np.pi
        foot = (crank[0] + 0.17 * float(np.cos(phase)), 0.11 * sign, crank[2] + 0.17 * float(np.sin(phase)))
        knee = (0.5 * (hip[0] + foot[0]) + 0.26, 0.11 * sign, 0.5 * (hip[1] + foot[2]) + 0.1)
        parts.append(limb_solid((hip[0], 0.1 * sign, hip[1]), knee, 0.095 * build, 0.07, bottom, 2))
        parts.append(limb_solid(knee, foot, 0.068, 0.05, bottom if rng.random() < 0.6 else skin, 2))
        parts.append(limb_solid(foot, (foot[0] + 0.16, foot[1], foot[2] - 0.02), 0.05, 0.04, BLACK * 2, 2))
        arm = (shoulder[0], 0.19 * sign * build, shoulder[1])
        elbow = (0.5 * (shoulder[0] + bar[0]), 0.27 * sign, 0.5 * (shoulder[1] + 1.03) - 0.04)
        parts.append(limb_solid(arm, elbow, 0.06, 0.05, top * 0.92, 2))
        parts.append(
            limb_solid(elbow, (bar[0], 0.23 * sign, 1.05), 0.05, 0.04, top * 0.92 if rng.random() < 0.5 else skin, 2)
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
                sample_colour(rng),
                2,
            )
        )
    crown = shoulder[1] + 0.33 * s
    helmet = sample_colour(rng) if rng.random() < 0.6 else HAIR[rng.integers(len(HAIR))]
    parts += _head(shoulder[0] + 0.1, crown, rng, s, helmet, 3)
    return Model("cyclist", base + 2 * r, 0.6, crown, tuple(parts))
