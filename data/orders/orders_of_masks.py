"""Clusters and orders from amodal and inmodal masks, with what the masks leave open.

N is the number of instances of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from amodal_jax.masks import segmentation
from amodal_jax.masks.segmentation import Rle
from data.orders.orders import OrderFinding, clusters_and_orders
from data.orders.overlaps import overlapping

VISIBLE_IN_NEITHER = "overlap that is visible in neither"
VISIBLE_IN_BOTH = "overlap that is visible in both"
CYCLE = "cycle of instances each of which hides the next"

# The nearer of two is seen in all of their overlap that nothing else hides, the farther in none of it. Outlines drawn
# by hand leave some to both: up to this many times the loser's pixels the winner is doubtful.
_CLEAR = 2


@dataclass(frozen=True)
class Ordering:
    """The clusters and orders of an image."""

    clusters: list[int]
    orders: list[int]
    doubts: list[OrderFinding]  # where the masks did not say which is nearer, or contradicted themselves


def orders_of_masks(amodal_masks: Sequence[Rle], inmodal_masks: Sequence[Rle]) -> Ordering:
    """Finds out who hides whom: of two that overlap, the one in which more of the overlap is visible is nearer.

    An overlap that is visible in neither, or in both alike, is settled by the other pairs where these imply an order
    (one hides a third, which hides the other), and by the sequence of the instances otherwise, the first as the nearer;
    the latter is a doubt. In a cycle, the instance of which the others hide the least counts as the nearest.

    Args:
        amodal_masks: the instances of one image, N run-length codes of one size.
        inmodal_masks: their visible parts.

    Returns:
        Clusters and orders as `clusters_and_orders` gives them. Doubts are of three kinds: an overlap visible in
        neither and settled by nothing, an overlap visible in both, of which the smaller share is over half of the
        larger, and a cycle.
    """
    overlaps = overlapping(amodal_masks)
    seen = visible_overlaps(amodal_masks, inmodal_masks, overlaps)
    hides = seen > seen.T
    before = _reachable(hides)
    doubts = [OrderFinding(CYCLE, members, 0) for members in cycles(hides)]
    for i, j in np.argwhere(np.triu(overlaps)).tolist():
        less, more = sorted((int(seen[i, j]), int(seen[j, i])))
        if not more:
            if not before[i, j] and not before[j, i]:
                pixels = segmentation.intersection_area(amodal_masks[i], amodal_masks[j])
                doubts.append(OrderFinding(VISIBLE_IN_NEITHER, (i, j), pixels))
        elif more < _CLEAR * less:
            doubts.append(OrderFinding(VISIBLE_IN_BOTH, (i, j), less))
    clusters, orders = clusters_and_orders(amodal_masks, _depths(hides, seen))
    return Ordering(clusters, orders, doubts)


def visible_overlaps(
    amodal_masks: Sequence[Rle], inmodal_masks: Sequence[Rle], overlaps: Bool[np.ndarray, "N N"]
) -> Int[np.ndarray, "N N"]:
    """The pixels of the overlap of i and j that are visible in i."""
    seen = np.zeros(overlaps.shape, np.int64)
    for i, j in np.argwhere(overlaps).tolist():
        seen[i, j] = segmentation.intersection_area(amodal_masks[i], amodal_masks[j], inmodal_masks[i])
    return seen


def cycles(hides: Bool[np.ndarray, "N N"]) -> list[tuple[int, ...]]:
    """The sets of instances of which each hides another of the set and is hidden by one."""
    before = _reachable(hides)
    in_cycle = before & before.T
    return sorted({tuple(np.flatnonzero(row).tolist()) for row in in_cycle if row.any()})


def _reachable(edges: Bool[np.ndarray, "N N"]) -> Bool[np.ndarray, "N N"]:
    """Whether a path of one or more edges leads from i to j."""
    reachable = edges
    while True:
        further = reachable | ((reachable.astype(np.float32) @ reachable.astype(np.float32)) > 0)
        if (further == reachable).all():
            return reachable
        reachable = further


def _depths(hides: Bool[np.ndarray, "N N"], seen: Int[np.ndarray, "N N"]) -> list[int]:
    """A place for each instance, behind all that hide it; the first of the sequence where several may come next."""
    hidden = np.where(hides, seen, 0)
    depths = [0] * len(hides)
    remaining = list(range(len(hides)))
    for depth in range(len(hides)):
        by_the_others = hidden[np.ix_(remaining, remaining)].sum(axis=0)
        depths[remaining.pop(int(np.argmin(by_the_others)))] = depth
    return depths
