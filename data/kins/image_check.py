"""Looks at the annotations of one image: masks, boxes, areas, and what they and the orders say of each other.

N is the number of instances of the image that have an amodal mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from amodal_jax import segmentation
from amodal_jax.json_values import is_number
from amodal_jax.segmentation import Rle
from data.kins import findings as kinds
from data.kins import orders, orders_of_masks, problems
from data.kins.annotations import Keys
from data.kins.findings import Finding
from data.kins.instances import Instance, read_instance
from data.kins.orders import order_violations
from data.kins.overlaps import overlapping

# What two drawings of one outline may differ by: share of the smaller mask, and pixels.
_SLIGHT_SHARE, _SLIGHT_PIXELS = 0.05, 10
# Share of an amodal mask, and pixels, that may be hidden by nothing.
_UNEXPLAINED_SHARE, _UNEXPLAINED_PIXELS = 0.05, 20
# Share of a mask's pixels, beside half the length around its box, by which a stored area may differ: that of a polygon
# is not that of the pixels.
_AREA_TOLERANCE = 0.05


@dataclass(frozen=True)
class Looked:
    """The readable instances of an image, and how they overlap."""

    entries: list[dict[str, Any]]  # N annotations
    instances: list[Instance]  # N
    problems: dict[int, list[str]]  # kinds that `read_instance` gives, by annotation id, of every annotation
    overlaps: Bool[np.ndarray, "N N"]  # which amodal masks have a pixel in common
    seen: Int[np.ndarray, "N N"]  # the pixels that they have, those that are visible in the first of the two

    @property
    def amodal(self) -> list[Rle]:
        return [instance.amodal for instance in self.instances]

    @property
    def inmodal(self) -> list[Rle]:
        return [instance.inmodal for instance in self.instances]


def look_at(annotations: Sequence[dict[str, Any]], keys: Keys, height: int, width: int) -> Looked:
    """Reads the annotations of an image of which the size is known."""
    entries, instances, found = [], [], {}
    for annotation in annotations:
        instance, flaws = read_instance(annotation, keys, height, width)
        found[annotation["id"]] = flaws
        if instance is not None:
            entries.append(annotation)
            instances.append(instance)
    amodal = [instance.amodal for instance in instances]
    overlaps = overlapping(amodal)
    inmodal = [instance.inmodal for instance in instances]
    seen = orders_of_masks.visible_overlaps(amodal, inmodal, overlaps)
    return Looked(entries, instances, found, overlaps, seen)


def check_annotations(looked: Looked, keys: Keys, image_id: int) -> list[Finding]:
    """Everything that is wrong with, or strange about, the annotations of an image."""
    readable = {instance.id: (annotation, instance) for annotation, instance in _pairs(looked)}
    found = []
    for identifier, flaws in looked.problems.items():
        pair = readable.get(identifier)
        for kind in dict.fromkeys(flaws):
            # What is wholly outside has a kind of its own.
            if kind == problems.INMODAL_OUTSIDE and pair and not pair[1].visible_area:
                continue
            detail = _box_detail(kind, *pair, keys) if pair else ""
            found.append(Finding(kind, "annotation", (identifier,), image_id, detail))
    for annotation, instance in _pairs(looked):
        found += [
            Finding(kind, "annotation", (instance.id,), image_id, detail)
            for kind, detail in _alone(annotation, instance, keys)
        ]
    found += [
        Finding(kind, "annotation", tuple(looked.instances[member].id for member in members), image_id, detail)
        for kind, members, detail in together(looked)
    ]
    return found


def area_flaw(annotation: dict[str, Any], instance: Instance, keys: Keys, key: str) -> tuple[str, str] | None:
    """The kind and detail of what is wrong with the area stored under one of the keys for areas; None where nothing is.

    A mask without a pixel has no area that could be wrong.
    """
    mask = instance.amodal if key == keys.amodal_area else instance.inmodal
    if not segmentation.area(mask):
        return None
    stored: Any = annotation.get(key)
    if not is_number(stored):
        return kinds.AREA_MISSING, "is no number"
    # KINS of 2019 has one area, and nothing says of which mask.
    for candidate in [mask] if keys.inmodal_area else [mask, instance.inmodal]:
        x1, y1, x2, y2 = segmentation.bounding_box(candidate)
        pixels = segmentation.area(candidate)
        if abs(stored - pixels) <= _AREA_TOLERANCE * pixels + (x2 - x1 + y2 - y1) / 2 + 1:
            return None
    return kinds.AREA_DISAGREES, f"is {stored:g}, the mask has {segmentation.area(mask)} pixels"


def masks_with_empty_runs(annotation: dict[str, Any], instance: Instance, keys: Keys) -> list[tuple[str, Rle]]:
    """The keys of readable masks that are stored with runs of no pixel, and the masks."""
    return [
        (key, mask)
        for key, mask in ((keys.amodal_mask, instance.amodal), (keys.inmodal_mask, instance.inmodal))
        if segmentation.has_empty_runs(stored := annotation.get(key))
        and segmentation.parse(stored, *mask["size"]).rle is not None
    ]


def together(looked: Looked) -> list[tuple[str, tuple[int, ...], str]]:
    """What is wrong with the orders and overlaps of instances: kind, positions, detail."""
    found = []
    # Where an order is missing, which has a finding of its own, those of the others it is joined to mean little.
    known = [
        member
        for members in orders.components(looked.overlaps)
        if all(looked.instances[member].cluster_id is not None for member in members)
        for member in members
    ]
    known.sort()
    found += [
        (kind, tuple(known[member] for member in members), detail)
        for kind, members, detail in _order_findings(_some(looked, known))
    ]
    for cycle in orders_of_masks.cycles(_hides(looked)):
        found.append((orders_of_masks.CYCLE, cycle, ""))
    for i, j in np.argwhere(np.triu(looked.overlaps)).tolist():
        both = segmentation.intersection_area(looked.instances[i].inmodal, looked.instances[j].inmodal)
        if not _is_slight(both, looked, i, j):
            found.append((orders_of_masks.VISIBLE_IN_BOTH, (i, j), f"{both} pixels"))
    for index, instance in enumerate(looked.instances):
        hidden = segmentation.area(instance.amodal) - instance.visible_area
        if hidden <= max(_UNEXPLAINED_PIXELS, _UNEXPLAINED_SHARE * segmentation.area(instance.amodal)):
            continue
        nearer = [looked.instances[other].amodal for other in _may_hide(looked, index)]
        covered = segmentation.union([instance.inmodal, *nearer])
        unexplained = segmentation.area(instance.amodal) - segmentation.intersection_area(instance.amodal, covered)
        if unexplained > max(_UNEXPLAINED_PIXELS, _UNEXPLAINED_SHARE * segmentation.area(instance.amodal)):
            found.append((kinds.HIDDEN_UNEXPLAINED, (index,), f"{unexplained} of {hidden} hidden pixels"))
    return found


def _alone(annotation: dict[str, Any], instance: Instance, keys: Keys) -> list[tuple[str, str]]:
    found = []
    x1, y1, x2, y2 = segmentation.bounding_box(instance.amodal)
    if min(x2 - x1, y2 - y1) <= 1:
        found.append((kinds.TINY, f"{x2 - x1:g} x {y2 - y1:g} pixels"))
    found += [(kinds.EMPTY_RUNS, f"'{key}'") for key, _ in masks_with_empty_runs(annotation, instance, keys)]
    for key in filter(None, (keys.amodal_area, keys.inmodal_area)):
        if flaw := area_flaw(annotation, instance, keys, key):
            found.append((flaw[0], f"'{key}' {flaw[1]}"))
    if instance.visible_area == 0 and segmentation.area(instance.inmodal):
        found.append((kinds.INMODAL_APART, ""))
    return found


def _pairs(looked: Looked) -> Iterator[tuple[dict[str, Any], Instance]]:
    return zip(looked.entries, looked.instances, strict=True)


def _box_detail(kind: str, annotation: dict[str, Any], instance: Instance, keys: Keys) -> str:
    """What a box that disagrees with its mask is, and what the mask's is; nothing for another kind."""
    for which, key, mask in (
        ("amodal", keys.amodal_box, instance.amodal),
        ("inmodal", keys.inmodal_box, instance.inmodal),
    ):
        if key and kind in (f"{which} {problems.BOX_DISAGREES}", f"{which} {problems.BOX_UNDER_PIXEL}"):
            x1, y1, x2, y2 = segmentation.bounding_box(mask)
            return f"'{key}' is {annotation[key]}, the mask's {[x1, y1, x2 - x1, y2 - y1]}"
    return ""


def _some(looked: Looked, members: list[int]) -> Looked:
    block = np.ix_(members, members)
    return Looked(
        [looked.entries[member] for member in members],
        [looked.instances[member] for member in members],
        looked.problems,
        looked.overlaps[block],
        looked.seen[block],
    )


def _order_findings(looked: Looked) -> list[tuple[str, tuple[int, ...], str]]:
    """Of instances all of which have a cluster and an order."""
    clusters = [_whole(instance.cluster_id) for instance in looked.instances]
    numbers = [_whole(instance.occlusion_order) for instance in looked.instances]
    found: list[tuple[str, tuple[int, ...], str]] = []
    for violation in order_violations(looked.amodal, clusters, numbers):
        if violation.kind == orders.ORDER_ALONE:
            found.append((violation.kind, violation.members, f"order {numbers[violation.members[0]]}"))
            continue
        i, j = violation.members
        slight = kinds.SLIGHT if _is_slight(violation.pixels, looked, i, j) else ""
        shown = (
            f"clusters {clusters[i]} and {clusters[j]}"
            if violation.kind == orders.OTHER_CLUSTERS
            else f"orders {numbers[i]} and {numbers[j]}"
        )
        found.append((violation.kind + slight, (i, j), f"{shown}, {violation.pixels} pixels"))
    for i, j in np.argwhere(looked.overlaps).tolist():
        if clusters[i] != clusters[j] or not 0 < numbers[i] < numbers[j]:
            continue
        in_nearer, in_farther = int(looked.seen[i, j]), int(looked.seen[j, i])
        if in_farther > in_nearer and not _is_slight(in_farther - in_nearer, looked, i, j):
            detail = f"orders {numbers[i]} and {numbers[j]}, {in_nearer} and {in_farther} of the overlap are visible"
            found.append((kinds.ORDER_CONTRADICTED, (i, j), detail))
    for cluster in dict.fromkeys(clusters):
        members = [index for index, other in enumerate(clusters) if other == cluster and numbers[index] != 0]
        joined = [index for index in members if looked.overlaps[index].any()]
        parts = orders.components(looked.overlaps[np.ix_(joined, joined)])
        if len(parts) > 1:
            found.append((kinds.CLUSTER_APART, tuple(joined), f"cluster {cluster}, {len(parts)} parts"))
        values = sorted({numbers[index] for index in members})
        if len(members) > 1 and values != list(range(1, len(values) + 1)):
            found.append((kinds.ORDER_GAP, tuple(members), f"cluster {cluster}, orders {_listed(values)}"))
    return found


def _whole(number: int | None) -> int:
    if number is None:
        raise ValueError("an instance without cluster and order")
    return number


def _may_hide(looked: Looked, index: int) -> list[int]:
    """Those that overlap an instance and that its order does not put behind it."""
    mine = looked.instances[index]
    return [
        other
        for other in np.flatnonzero(looked.overlaps[index]).tolist()
        if mine.occlusion_order is None
        or (order := looked.instances[other].occlusion_order) is None
        or looked.instances[other].cluster_id != mine.cluster_id
        or order < mine.occlusion_order
    ]


def _is_slight(pixels: int, looked: Looked, i: int, j: int) -> bool:
    smaller = min(segmentation.area(looked.instances[index].amodal) for index in (i, j))
    return pixels <= max(_SLIGHT_PIXELS, _SLIGHT_SHARE * smaller)


def _hides(looked: Looked) -> Bool[np.ndarray, "N N"]:
    """Whether i, by more than what outlines may differ, is the one that is seen where i and j overlap."""
    hides = looked.seen > looked.seen.T
    for i, j in np.argwhere(hides).tolist():
        hides[i, j] = not _is_slight(int(looked.seen[i, j] - looked.seen[j, i]), looked, i, j)
    return hides


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")
