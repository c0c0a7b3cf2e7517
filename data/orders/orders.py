"""Clusters and relative occlusion orders as KINS defines them (paper section 3.1, Occlusion Ordering).

N is the number of instances of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from amodal_jax.masks import segmentation
from amodal_jax.masks.segmentation import Rle
from data.orders.overlaps import overlapping

EQUAL_ORDERS = "equal orders in a cluster that overlap"
OTHER_CLUSTERS = "overlap of two clusters"
ZERO_OVERLAPS = "order 0 that overlaps another"
ORDER_ALONE = "order above 0 that overlaps nothing"


@dataclass(frozen=True)
class OrderFinding:
    """Something about the orders of one image that a person should look at."""

    kind: str
    members: tuple[int, ...]  # positions among the image's instances
    pixels: int  # of the overlap that it is about; 0 where it is about none


def components(overlaps: Bool[np.ndarray, "N N"]) -> list[list[int]]:
    """The positions of those that overlaps join, directly or through others, by first appearance."""
    found: list[list[int]] = []
    left = set(range(len(overlaps)))
    for seed in range(len(overlaps)):
        if seed not in left:
            continue
        members, waiting = [], [seed]
        left.remove(seed)
        while waiting:
            member = waiting.pop()
            members.append(member)
            next_to = [other for other in np.flatnonzero(overlaps[member]).tolist() if other in left]
            left.difference_update(next_to)
            waiting += next_to
        found.append(sorted(members))
    return found


def clusters_and_orders(amodal_masks: Sequence[Rle], depth: Sequence[float]) -> tuple[list[int], list[int]]:
    """Clusters of overlapping instances and each one's order within its cluster.

    A cluster is a connected component of the instances whose amodal masks overlap. An instance that overlaps no other
    has order 0. In a cluster an instance that nothing nearer overlaps has order 1, every other one has one more than
    the highest order among the nearer instances that it overlaps: orders grow with depth along every overlap, and
    instances of equal order never overlap.

    Args:
        amodal_masks: the instances of one image, N run-length codes of one size.
        depth: N numbers that grow with the distance to the camera; of two equal ones the first counts as nearer.

    Returns:
        N cluster ids, from 1 on in the order of first appearance, and N orders.
    """
    count = len(amodal_masks)
    if len(depth) != count:
        raise ValueError(f"{count} masks, but {len(depth)} depths")
    overlaps = overlapping(amodal_masks)

    orders = [0] * count
    for position, instance in enumerate(nearest_first := sorted(range(count), key=lambda index: depth[index])):
        if overlaps[instance].any():
            orders[instance] = 1 + max(
                (orders[i] for i in nearest_first[:position] if overlaps[instance, i]), default=0
            )

    clusters = [0] * count
    for number, members in enumerate(components(overlaps), start=1):
        for member in members:
            clusters[member] = number
    return clusters, orders


def order_violations(amodal_masks: Sequence[Rle], clusters: Sequence[int], orders: Sequence[int]) -> list[OrderFinding]:
    """Where orders break KINS' rules: of two that overlap, one has to be nearer, in the cluster of both.

    Args:
        amodal_masks: the instances of one image, N run-length codes of one size.
        clusters: N cluster ids.
        orders: N orders.

    Returns:
        Overlaps within a cluster at equal orders, overlaps across clusters, an order of 0 although there is an overlap,
        and an order above 0 where there is none; by the positions of the instances.
    """
    overlaps = overlapping(amodal_masks)
    found = []
    for i, j in np.argwhere(np.triu(overlaps)).tolist():
        kind = None
        if clusters[i] != clusters[j]:
            kind = OTHER_CLUSTERS
        elif orders[i] == orders[j]:
            kind = EQUAL_ORDERS
        elif 0 in (orders[i], orders[j]):
            kind = ZERO_OVERLAPS
        if kind:
            found.append(OrderFinding(kind, (i, j), segmentation.intersection_area(amodal_masks[i], amodal_masks[j])))
    found += [OrderFinding(ORDER_ALONE, (i,), 0) for i, row in enumerate(overlaps) if orders[i] > 0 and not row.any()]
    return found
