"""Regions of objects of which some hide others, for the losses of mask stages."""

import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax.masks.crops import crop_mask, pack_crop
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.structures import RoISamples
from tests.helpers.micro import micro_batch

CHANNELS = 16


def scene_targets(instances: int = 3) -> tuple[MaskTargets, tuple[jax.Array]]:
    """Five regions of one image, the last of them not valid, and features of each.

    The first object stands alone, the second hides a part of the third.
    """
    batch = micro_batch(1)
    slots = batch.truth.boxes.shape[1]
    boxes = np.zeros((1, slots, 4), np.float32)
    boxes[0, :3] = [[2, 2, 20, 30], [40, 10, 68, 38], [30, 20, 58, 48]]
    whole = np.zeros((3, 64, 96), bool)
    for mask, (x1, y1, x2, y2) in zip(whole, boxes[0, :3].astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
        mask[y1 : y1 + 6, x1 : x1 + 9] = False
    seen = whole & ~np.stack([whole[1] & False, whole[1] & False, whole[1]])
    crops = np.zeros((2, *batch.truth.amodal_crops.shape), np.uint8)
    for kind, masks in enumerate((whole, seen)):
        for slot, mask in enumerate(masks):
            crops[kind, 0, slot] = pack_crop(crop_mask(mask, boxes[0, slot]))
    truth = batch.truth.replace(
        boxes=jnp.asarray(boxes),
        amodal_crops=jnp.asarray(crops[0]),
        inmodal_crops=jnp.asarray(crops[1]),
        valid=jnp.arange(slots)[None] < instances,
    )
    moved = np.array([[1, 2, -2, 3], [0, 0, 0, 0], [2, -3, 1, 2], [0, 0, 4, 0], [0, 0, 0, 0]], np.float32)
    index = np.array([[0, 1, 2, 2, 1]], np.int32) if instances > 1 else np.zeros((1, 5), np.int32)
    samples = RoISamples(
        boxes=jnp.asarray(boxes[0, index[0]] + moved)[None],
        truth_index=jnp.asarray(index),
        positive=jnp.ones((1, 5), bool),
        valid=jnp.array([[True, True, True, True, False]]),
    )
    features = jax.random.normal(jax.random.key(0), (5, 14, 14, CHANNELS))
    return MaskTargets.of(samples, truth, 5), (features,)


def cross_entropy(logits: jax.Array, targets: np.ndarray) -> float:
    """The mean binary cross-entropy, in float64."""
    logits = np.asarray(logits, np.float64)
    return float((np.logaddexp(0, logits) - logits * targets).mean())
