"""Mends the annotations of one image as far as what they hold says how.

A repair is done in stages, each on what the one before has left: masks, then what is measured on masks (boxes and
areas), then clusters and orders. Only what `findings.KINDS` gives a repair is touched.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from amodal_jax import segmentation
from amodal_jax.segmentation import Rle
from data.kins import findings as kinds
from data.kins import orders, orders_of_masks, problems
from data.kins.annotations import Keys
from data.kins.findings import Change
from data.kins.image_check import Looked, area_flaw, look_at, masks_with_empty_runs, together
from data.kins.inmodal_masks import inmodal_masks
from data.kins.orders import components
from data.kins.polygon_clipping import clip_polygon

_ORDER_ERRORS = (
    orders.EQUAL_ORDERS,
    orders.OTHER_CLUSTERS,
    orders.ZERO_OVERLAPS,
    kinds.ORDER_CONTRADICTED,
)
# The stages need one round each; a round more shows that nothing is left.
_MOST_ROUNDS = 12

# (annotation id, field, new value, why)
_Edit = tuple[int, str, Any, str]


def repair_annotations(
    annotations: Sequence[dict[str, Any]], keys: Keys, height: int, width: int
) -> tuple[tuple[dict[str, Any], ...], list[Change]]:
    """The mended annotations of an image, and what was changed in them."""
    current = {annotation["id"]: annotation for annotation in annotations}
    changes: list[Change] = []
    for _ in range(_MOST_ROUNDS):
        looked = look_at(list(current.values()), keys, height, width)
        edits = (
            _mask_edits(looked, current, keys, height, width)
            or _measured_edits(looked, keys)
            or _order_edits(looked, keys)
        )
        if not edits:
            break
        for identifier, field, value, why in edits:
            before = current[identifier]
            changes.append(Change("annotation", identifier, field, before.get(field), value, why))
            current[identifier] = {**before, field: value}
    return tuple(current.values()), changes


def _mask_edits(
    looked: Looked, annotations: dict[int, dict[str, Any]], keys: Keys, height: int, width: int
) -> list[_Edit]:
    edits: list[_Edit] = []
    for identifier, flaws in looked.problems.items():
        for which, key in (("amodal", keys.amodal_mask), ("inmodal", keys.inmodal_mask)):
            stored = annotations[identifier].get(key)
            spoilt = [flaw for flaw in kinds.POLYGON_FLAWS if f"{which} mask: {flaw}" in flaws]
            beyond = f"{which} mask: {segmentation.BEYOND_IMAGE}"
            if spoilt and (mended := _drawable(stored)):
                edits.append((identifier, key, mended, f"{which} mask: {spoilt[0]}"))
            elif beyond in flaws and not spoilt and (mended := _clipped(stored, height, width)):
                edits.append((identifier, key, mended, beyond))
    if edits:
        return edits
    absent = (problems.INMODAL_MISSING, problems.INMODAL_UNREADABLE, problems.INMODAL_UNKNOWN)
    derived = None
    for index, (entry, instance) in enumerate(zip(looked.entries, looked.instances, strict=True)):
        edits += [
            (instance.id, key, mask, kinds.EMPTY_RUNS) for key, mask in masks_with_empty_runs(entry, instance, keys)
        ]
        why = next((kind for kind in absent if kind in looked.problems[instance.id]), None)
        if why:
            derived = derived or _derived_inmodal(looked)
            same = derived[index] == instance.amodal
            edits.append((instance.id, keys.inmodal_mask, entry[keys.amodal_mask] if same else derived[index], why))
        elif problems.INMODAL_OUTSIDE in looked.problems[instance.id] and instance.visible_area:
            cut = segmentation.intersection([instance.inmodal, instance.amodal])
            edits.append((instance.id, keys.inmodal_mask, cut, problems.INMODAL_OUTSIDE))
    return edits


def _drawable(stored: Any) -> list[Any]:
    if not isinstance(stored, list) or not stored:
        return []
    polygons = stored if isinstance(stored[0], list) else [stored]
    return [polygon for polygon in polygons if isinstance(polygon, list) and segmentation.polygons([polygon])[0]]


def _clipped(stored: Any, height: int, width: int) -> list[list[float]]:
    clipped = [clip_polygon(points, height, width) for points in segmentation.polygons(stored)[0]]
    return [points.ravel().tolist() for points in clipped if len(points) >= 3]


def _derived_inmodal(looked: Looked) -> list[Rle]:
    """What orders leave visible of each; all of it where there are no orders."""
    if any(instance.cluster_id is None or instance.occlusion_order is None for instance in looked.instances):
        return looked.amodal
    clusters = [instance.cluster_id or 0 for instance in looked.instances]
    numbers = [instance.occlusion_order or 0 for instance in looked.instances]
    return inmodal_masks(looked.amodal, clusters, numbers)


def _measured_edits(looked: Looked, keys: Keys) -> list[_Edit]:
    edits: list[_Edit] = []
    for entry, instance in zip(looked.entries, looked.instances, strict=True):
        for which, box_key, area_key, mask in (
            ("amodal", keys.amodal_box, keys.amodal_area, instance.amodal),
            ("inmodal", keys.inmodal_box, keys.inmodal_area, instance.inmodal),
        ):
            if not segmentation.area(mask):
                continue
            boxes = (problems.BOX_UNREADABLE, problems.BOX_UNDER_PIXEL, problems.BOX_DISAGREES)
            why = next((f"{which} {k}" for k in boxes if f"{which} {k}" in looked.problems[instance.id]), None)
            if box_key and why:
                x1, y1, x2, y2 = segmentation.bounding_box(mask)
                edits.append((instance.id, box_key, [x1, y1, x2 - x1, y2 - y1], why))
            if area_key and (flaw := area_flaw(entry, instance, keys, area_key)):
                edits.append((instance.id, area_key, segmentation.area(mask), flaw[0]))
    return edits


def _order_edits(looked: Looked, keys: Keys) -> list[_Edit]:
    """New clusters and orders for the connected instances of which some are wrong, where the masks leave no doubt."""
    # What cannot be read may be what the others' orders are about.
    if keys.cluster is None or keys.order is None or len(looked.instances) < len(looked.problems):
        return []
    reasons: dict[int, str] = {}
    alone: list[int] = []
    for kind, positions, _ in together(looked):
        if kind in _ORDER_ERRORS:
            reasons.update(dict.fromkeys(positions, kind))
        elif kind == orders.ORDER_ALONE:
            alone += positions
    reasons.update(
        {
            index: problems.ORDER_MISSING
            for index, instance in enumerate(looked.instances)
            if problems.ORDER_MISSING in looked.problems[instance.id]
        }
    )
    edits: list[_Edit] = [(looked.instances[index].id, keys.order, 0, orders.ORDER_ALONE) for index in alone]
    if not reasons:
        return edits
    ordering = orders_of_masks.orders_of_masks(looked.amodal, looked.inmodal)
    doubtful = {member for doubt in ordering.doubts for member in doubt.members}
    stored = [instance.cluster_id for instance in looked.instances]
    next_free = max((cluster for cluster in stored if cluster is not None), default=0) + 1
    taken: set[int] = set()
    for members in components(looked.overlaps):
        why = next((reasons[member] for member in members if member in reasons), None)
        if why is None or doubtful & set(members):
            continue
        elsewhere = {cluster for index, cluster in enumerate(stored) if index not in members} | taken
        candidates = Counter(stored[member] for member in members)
        usable = [
            cluster for cluster, _ in candidates.most_common() if cluster is not None and cluster not in elsewhere
        ]
        cluster = usable[0] if usable else next_free
        next_free = max(next_free, cluster + 1)
        taken.add(cluster)
        for member in members:
            instance = looked.instances[member]
            if instance.cluster_id != cluster:
                edits.append((instance.id, keys.cluster, cluster, why))
            if instance.occlusion_order != ordering.orders[member]:
                edits.append((instance.id, keys.order, ordering.orders[member], why))
    return edits
