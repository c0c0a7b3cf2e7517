"""Which instances of several annotators are the same object, in one image.

A: annotators. Masks are run-length codes of one size.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from amodal_jax.masks.segmentation import Rle

Place = tuple[int, int]  # (annotator, position among the annotator's instances)


def match_instances(
    masks: Sequence[Sequence[Rle]], kinds: Sequence[Sequence[Hashable]], threshold: float
) -> list[tuple[Place, ...]]:
    """Groups of instances that are the same object; every instance is in one group, alone where nothing matches it.

    Pairs of two annotators' instances of one kind are taken from the highest IoU down, and join their groups where
    these have no annotator in common. For two annotators that is a greedy one-to-one matching. An optimal assignment is
    defined for two annotators only, and from an IoU of 0.5 on there is little to assign: of two masks that do not
    overlap each other at most one can exceed 0.5 with a third.

    Args:
        masks: of each of A annotators.
        kinds: of the same instances; only those of one kind, such as a class, can be the same object.
        threshold: least IoU of two instances that are the same object.

    Returns:
        Groups in the order of their first members; members in the order of annotators.
    """
    pairs = []
    for a in range(len(masks)):
        for b in range(a + 1, len(masks)):
            if not masks[a] or not masks[b]:
                continue
            ious = np.asarray(coco_mask.iou(list(masks[a]), list(masks[b]), [0] * len(masks[b])))
            for i, j in np.argwhere(ious >= threshold).tolist():
                if kinds[a][i] == kinds[b][j]:
                    pairs.append((-float(ious[i, j]), (a, i), (b, j)))
    groups: dict[Place, list[Place]] = {(a, i): [(a, i)] for a in range(len(masks)) for i in range(len(masks[a]))}
    for _, first, second in sorted(pairs):
        one, other = groups[first], groups[second]
        if one is not other and not {a for a, _ in one} & {a for a, _ in other}:
            one.extend(other)
            for place in other:
                groups[place] = one
    unique = {id(group): tuple(sorted(group)) for group in groups.values()}
    return sorted(unique.values())
