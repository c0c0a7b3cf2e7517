"""Inmodal masks from amodal masks and orders (paper section 3.2, Segmentation Transformation)."""

from collections.abc import Sequence

import numpy as np

from amodal_jax.masks import segmentation
from amodal_jax.masks.segmentation import Rle
from data.orders.overlaps import overlapping


def inmodal_masks(amodal_masks: Sequence[Rle], clusters: Sequence[int], orders: Sequence[int]) -> list[Rle]:
    """The visible part of each instance: its amodal mask without what nearer instances of its cluster cover.

    "For two overlapping instances, the intersection regions should belong to the instance with the smaller occlusion
    order." Where two of equal order or of different clusters overlap, which `order_violations` lists, both keep the
    intersection.

    Args:
        amodal_masks: the instances of one image, N run-length codes of one size.
        clusters: N cluster ids.
        orders: N orders; the smaller is nearer.

    Returns:
        N masks of the same size; those of instances of which nothing is hidden are the amodal ones themselves.
    """
    overlaps = overlapping(amodal_masks)
    visible = []
    for i, mask in enumerate(amodal_masks):
        nearer = [
            amodal_masks[j]
            for j in np.flatnonzero(overlaps[i]).tolist()
            if clusters[j] == clusters[i] and orders[j] < orders[i]
        ]
        visible.append(segmentation.difference(mask, segmentation.union(nearer)) if nearer else mask)
    return visible
