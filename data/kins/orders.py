"""Clusters and relative occlusion orders as KINS defines them (paper section 3.1, Occlusion Ordering)."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from amodal_jax.segmentation import Rle


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
    if not count:
        return [], []
    masks = list(amodal_masks)
    overlaps = np.asarray(coco_mask.iou(masks, masks, [0] * count)) > 0
    np.fill_diagonal(overlaps, False)

    orders = [0] * count
    for position, instance in enumerate(nearest_first := sorted(range(count), key=lambda index: depth[index])):
        if overlaps[instance].any():
            orders[instance] = 1 + max(
                (orders[i] for i in nearest_first[:position] if overlaps[instance, i]), default=0
            )

    clusters = [0] * count
    next_cluster = 1
    for seed in range(count):
        if clusters[seed]:
            continue
        waiting = [seed]
        while waiting:
            instance = waiting.pop()
            if not clusters[instance]:
                clusters[instance] = next_cluster
                waiting.extend(int(other) for other in np.flatnonzero(overlaps[instance]) if not clusters[other])
        next_cluster += 1
    return clusters, orders
