"""Streets as full as KINS': parked and moving rows, queues, crowds and lone objects, from the bumper to the distance.

Places are proposed by what a street looks like, far more than are needed. Then, from near to far, each is kept or left
empty by how much of it would be hidden, so that the occlusion of what is kept is distributed as in KINS. An object can
only be hidden by nearer ones, which have been decided on before it: one pass is enough.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from data.synthetic import street as streets
from data.synthetic.camera import KITTI_WIDTH, Camera
from data.synthetic.footprints import nearest_first
from data.synthetic.objects import STREET_CLASSES
from data.synthetic.placed import LEAST_VISIBLE_PIXELS, Placed, place
from data.synthetic.solids import Light, Pose, Silhouette, outline
from data.synthetic.street import Street

DETAILED = True
YARDS = 0.4
"""Share of the sides of a street that have room for parked vehicles before the buildings."""
LEAST_YARD = 6.0
"""Metres from the pavement to the buildings that such a yard takes."""
FARTHEST = 85.0
"""Depth in metres of the last object."""
LEAST_INSIDE = 0.12
LEAST_VISIBLE_SHARE = 0.03
LEAST_PIXELS = 60
"""Of an amodal mask, on an image as wide as KITTI's."""


@dataclass(frozen=True)
class District:
    """How full a kind of street is."""

    frequency: float
    """share of the scenes"""
    parked: float
    """probability that a side of the street is lined with parked vehicles"""
    occupied: float
    """share of the parking places that are taken"""
    flow: float
    """vehicles for each 100 m of a lane"""
    on_foot: float
    """mean number of people on their own"""
    crowds: float
    """mean number of groups of people"""
    cyclists: float
    """mean number"""
    lots: float
    """probability that vehicles are parked in a yard beside the street, where it has one"""
    crossing: float
    """probability of a street that crosses with traffic"""


DISTRICTS = (
    District(0.43, 0.90, 0.85, 1.2, 0.7, 0.15, 0.4, 0.9, 0.25),  # residential
    District(0.25, 0.55, 0.80, 3.5, 0.9, 0.3, 0.5, 0.9, 0.50),  # through road
    District(0.20, 0.20, 0.50, 4.0, 0.1, 0.0, 0.3, 0.9, 0.20),  # country road
    District(0.12, 0.30, 0.60, 1.0, 3.4, 1.8, 1.1, 0.4, 0.30),  # shopping street
)
PARKED = {"car": 0.735, "van": 0.062, "truck": 0.006, "misc": 0.197}
MOVING = {"car": 0.86, "van": 0.062, "truck": 0.014, "tram": 0.026, "misc": 0.035}
"""Share of each class among proposals."""
KEPT = ((0.0, 0.95), (1e-9, 0.85), (0.3, 0.75), (0.6, 0.7), (0.8, 0.7))
"""Probability that a place is kept whose object is hidden by at least this share."""
JOINED = ((0, 1.0), (3, 0.8), (4, 0.65), (5, 0.5), (6, 0.4), (7, 0.3))
"""Probability that an object is kept with which its cluster has at least so many occluded ones."""


@dataclass(frozen=True)
class _Proposal:
    class_name: str
    pose: Pose


def sample_light(rng: np.random.Generator) -> Light:
    """Daylight."""
    return streets.sample_daylight(rng)


def sample_street(rng: np.random.Generator) -> Street:
    """A street with room to park on both sides, and on some sides a yard before the buildings."""
    street = streets.sample_street(rng, parking=(2.1, 2.6))
    left, right = np.where(rng.random(2) < YARDS, rng.uniform(7.0, 16.0, 2), rng.uniform(0.3, 3.0, 2)).tolist()
    return dataclasses.replace(street, frontage=(left, right))


def place_objects(rng: np.random.Generator, camera: Camera, street: Street, classes: Sequence[str]) -> list[Placed]:
    """Objects of `classes` so that none is hidden by a later one; of each enough is seen."""
    district = DISTRICTS[rng.choice(len(DISTRICTS), p=[d.frequency for d in DISTRICTS])]
    proposals = [one for one in _propose(rng, district, street) if one.class_name in classes]
    candidates: list[Placed] = []
    for one in sorted(proposals, key=lambda one: one.pose.z):
        found = place(STREET_CLASSES[one.class_name](rng), one.pose, camera, candidates, LEAST_INSIDE)
        if found is not None:
            candidates.append(found)
    order = nearest_first([item.footprint for item in candidates], [item.pose.z for item in candidates])
    return _keep(rng, [candidates[index] for index in order], camera)


# What is proposed


def _propose(rng: np.random.Generator, district: District, street: Street) -> list[_Proposal]:
    proposals: list[_Proposal] = []
    for side, edge in ((-1, street.left_edge), (1, street.right_edge)):
        if rng.random() < district.parked:
            proposals += _parked_row(rng, street, side, edge, district.occupied)
        yard = street.frontage[side > 0] if street.frontage else 0.0
        if yard >= LEAST_YARD and rng.random() < district.lots:
            proposals += _parking_lot(rng, street, side, edge + side * (street.pavement + rng.uniform(2.6, yard - 2.6)))
        for _ in range(rng.poisson(0.5 * district.on_foot)):
            z = _depth(rng, 5.0, 60.0)
            x = edge + side * rng.uniform(0.2, street.pavement)
            proposals.append(_Proposal("pedestrian", Pose(x + street.shift(z), z, rng.uniform(0, 2 * np.pi))))
        for _ in range(rng.poisson(0.5 * district.cyclists)):
            z = _depth(rng, 6.0, 60.0)
            x = edge - side * rng.uniform(0.5, 3.0)
            proposals.append(_Proposal("cyclist", Pose(x + street.shift(z), z, _heading(rng, street, z, side < 0))))
    for _ in range(rng.poisson(district.crowds)):
        proposals += _crowd(rng, street)
    for lane in street.lanes:
        proposals += _lane(rng, street, lane, district.flow)
    if rng.random() < district.crossing:
        proposals += _crossing(rng, street)
    return proposals


def _depth(rng: np.random.Generator, nearest: float, farthest: float) -> float:
    return float(np.exp(rng.uniform(np.log(nearest), np.log(farthest))))


def _pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def _heading(rng: np.random.Generator, street: Street, z: float, oncoming: bool) -> float:
    return 2 * street.bend * z + (np.pi if oncoming else 0.0) + float(rng.normal(0.0, 0.04))


def _parked_row(rng: np.random.Generator, street: Street, side: int, edge: float, occupied: float) -> list[_Proposal]:
    """Bumper to bumper along the kerb."""
    row = []
    z = rng.uniform(3.0, 26.0)
    end = z + rng.uniform(15.0, 60.0)
    while z < min(end, FARTHEST):
        name = _pick(rng, PARKED)
        length = {"truck": 8.0, "van": 5.5, "misc": 4.2}.get(name, 4.4)
        z += 0.5 * length + 0.3 + rng.exponential(0.5)
        if rng.random() < occupied:
            x = edge - side * (1.1 + rng.normal(0.0, 0.08)) + street.shift(z)
            oncoming = (side < 0) if rng.random() < 0.85 else (side > 0)
            row.append(_Proposal(name, Pose(x, z, _heading(rng, street, z, oncoming))))
        elif rng.random() < 0.3:
            z += rng.uniform(5.0, 20.0)
        z += 0.5 * length
    return row


def _parking_lot(rng: np.random.Generator, street: Street, side: int, middle: float) -> list[_Proposal]:
    """Side by side, noses or tails to the street, beyond the pavement."""
    lot = []
    z = _depth(rng, 17.0, 52.0)
    yaw = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0.0, 0.1)
    for _ in range(rng.integers(3, 10)):
        z += 2.1 + rng.uniform(0.4, 0.9)
        if rng.random() < 0.75 and z < FARTHEST:
            x = middle + side * rng.normal(0.0, 0.2) + street.shift(z)
            lot.append(_Proposal(_pick(rng, PARKED), Pose(x, z, yaw + rng.normal(0.0, 0.03))))
    return lot


def _crowd(rng: np.random.Generator, street: Street) -> list[_Proposal]:
    """People who stand or walk together."""
    z = _depth(rng, 7.0, 45.0)
    side, edge = ((-1, street.left_edge), (1, street.right_edge))[rng.integers(2)]
    x = edge + side * rng.uniform(0.3, street.pavement) + street.shift(z)
    yaw = rng.uniform(0, 2 * np.pi)
    members = []
    for _ in range(rng.integers(2, 8)):
        place = Pose(x + rng.normal(0.0, 0.7), z + rng.normal(0.0, 1.2), yaw + rng.normal(0.0, 0.5))
        members.append(_Proposal("pedestrian", place))
    return members


def _lane(rng: np.random.Generator, street: Street, lane: float, flow: float) -> list[_Proposal]:
    """Vehicles one behind the other, in a queue or at their distances."""
    oncoming = lane < -1.5
    queue = rng.random() < 0.25
    spacing = rng.uniform(1.5, 4.0) if queue else 100.0 / flow
    vehicles = []
    z = rng.uniform(9.0, 30.0) if queue else 5.0 + 0.8 * rng.exponential(spacing)
    end = z + rng.uniform(15.0, 50.0) if queue else FARTHEST
    while z < min(end, FARTHEST):
        name = _pick(rng, MOVING)
        length = {"truck": 8.0, "van": 5.5, "tram": 15.0}.get(name, 4.5)
        z += 0.5 * length
        x = lane + rng.normal(0.0, 0.2) + street.shift(z)
        vehicles.append(_Proposal(name, Pose(x, z, _heading(rng, street, z, oncoming))))
        z += 0.5 * length + (spacing * rng.uniform(0.7, 1.3) if queue else rng.exponential(spacing) + 2.0)
    return vehicles


def _crossing(rng: np.random.Generator, street: Street) -> list[_Proposal]:
    """Traffic that crosses the street, on either of two lanes."""
    z = _depth(rng, 20.0, 62.0)
    vehicles = []
    for lane, heading in ((z, np.pi / 2), (z + 3.4, -np.pi / 2)):
        # Between the buildings on both sides, which would hide the rest.
        left, right = street.frontage or (0.0, 0.0)
        end = street.right_edge + street.pavement + right
        x = street.left_edge - street.pavement - left + rng.uniform(0.0, 8.0)
        while x < end:
            name = _pick(rng, MOVING)
            vehicles.append(_Proposal(name, Pose(x + street.shift(z), lane, heading + rng.normal(0.0, 0.05))))
            x += {"truck": 8.0, "van": 5.5, "tram": 16.0}.get(name, 4.5) + 1.0 + rng.exponential(9.0)
    return vehicles


# What is kept


def _keep(rng: np.random.Generator, candidates: list[Placed], camera: Camera) -> list[Placed]:
    clusters = _Clusters(camera)
    kept = []
    scale = (camera.width / KITTI_WIDTH) ** 2
    for item in candidates:
        drawn = outline(item.model, item.pose, camera)
        lots = rng.random(2)
        if drawn is None:
            continue
        pixels = int(drawn.mask.sum())
        visible = int((drawn.mask & ~clusters.taken[drawn.window()]).sum())
        if pixels < LEAST_PIXELS * scale or visible < max(LEAST_VISIBLE_PIXELS, LEAST_VISIBLE_SHARE * pixels):
            continue
        hidden = 1 - visible / pixels
        if lots[0] < _chance(KEPT, hidden) and lots[1] < _chance(JOINED, clusters.occluded_with(drawn, hidden > 0)):
            clusters.add(drawn, hidden > 0)
            kept.append(item)
    return kept


def _chance(steps: Sequence[tuple[float, float]], value: float) -> float:
    """The probability of the last step that the value reaches."""
    return [chance for least, chance in steps if value >= least][-1]


class _Clusters:
    """The masks kept so far and the clusters that they form."""

    def __init__(self, camera: Camera):
        self.taken: Bool[np.ndarray, "H W"] = np.zeros((camera.height, camera.width), bool)
        self._members: list[Silhouette] = []
        self._cluster: list[int] = []
        self._occluded: list[bool] = []

    def _joined(self, drawn: Silhouette) -> set[int]:
        pairs = zip(self._members, self._cluster, strict=True)
        return {cluster for other, cluster in pairs if _overlap(drawn, other)}

    def occluded_with(self, drawn: Silhouette, occluded: bool) -> int:
        """How many occluded members the cluster would have that a mask would join or found."""
        joined = self._joined(drawn)
        return occluded + sum(o for o, cluster in zip(self._occluded, self._cluster, strict=True) if cluster in joined)

    def add(self, drawn: Silhouette, occluded: bool) -> None:
        """Adds a mask, which may join clusters that were apart."""
        joined, name = self._joined(drawn), len(self._members)
        self._cluster = [name if cluster in joined else cluster for cluster in self._cluster]
        self._members.append(drawn)
        self._cluster.append(name)
        self._occluded.append(occluded)
        self.taken[drawn.window()] |= drawn.mask


def _overlap(one: Silhouette, other: Silhouette) -> bool:
    left, top = max(one.left, other.left), max(one.top, other.top)
    right = min(one.left + one.mask.shape[1], other.left + other.mask.shape[1])
    bottom = min(one.top + one.mask.shape[0], other.top + other.mask.shape[0])
    if left >= right or top >= bottom:
        return False
    windows = [
        thing.mask[top - thing.top : bottom - thing.top, left - thing.left : right - thing.left]
        for thing in (one, other)
    ]
    return bool((windows[0] & windows[1]).any())
