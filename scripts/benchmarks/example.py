"""Images with instances, drawn from a seed, as both our network and torchvision's take them.

Shape shorthand: B images, H x W pixels, n instances of an image.
"""

import dataclasses

import cv2
import numpy as np

from amodal_jax.config import Config
from amodal_jax.masks.crops import crop_mask, pack_crop
from amodal_jax.records import PACKED_CROP_SHAPE
from amodal_jax.structures import Batch, GroundTruth

INSTANCES = 12  # of an image: KINS has 13 in the mean


@dataclasses.dataclass(frozen=True)
class Example:
    """One image and its instances."""

    image: np.ndarray  # uint8 RGB [H, W, 3]
    boxes: np.ndarray  # float32 [n, 4] xyxy
    labels: np.ndarray  # int32 [n], 0 is the first foreground class
    masks: np.ndarray  # bool [n, H, W]


def draw_example(height: int, width: int, classes: int, seed: int) -> Example:
    """A noisy image with `INSTANCES` ellipses of a street scene's sizes, some of them over each other."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (8, 26, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    masks = np.zeros((INSTANCES, height, width), bool)
    for mask in masks:
        half = np.exp(rng.uniform(np.log(0.03), np.log(0.25), 2)) * height * (1.3, 1)
        centre = rng.uniform(half, np.array([width, height]) - half)
        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        mask[:] = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 <= 1
        image[mask] = rng.integers(0, 256, 3)
    noise = rng.integers(-20, 21, image.shape)
    return Example(
        image=np.clip(image + noise, 0, 255).astype(np.uint8),
        boxes=np.stack([_bounds(mask) for mask in masks]),
        labels=rng.integers(0, classes, INSTANCES).astype(np.int32),
        masks=masks,
    )


def make_batch(examples: list[Example], config: Config) -> Batch:
    """The examples on the canvas and in the ground-truth slots of a configuration."""
    count, slots = len(examples), config.data.max_instances
    truth = GroundTruth(
        boxes=np.zeros((count, slots, 4), np.float32),
        labels=np.zeros((count, slots), np.int32),
        occlusion_ratio=np.zeros((count, slots), np.float32),
        amodal_crops=np.zeros((count, slots, *PACKED_CROP_SHAPE), np.uint8),
        inmodal_crops=np.zeros((count, slots, *PACKED_CROP_SHAPE), np.uint8),
        cluster=np.full((count, slots), -1, np.int32),
        order=np.full((count, slots), -1, np.int32),
        valid=np.zeros((count, slots), bool),
        crowd=np.zeros((count, slots), bool),
    )
    images = np.zeros((count, config.data.canvas_height, config.data.canvas_width, 3), np.uint8)
    for index, example in enumerate(examples):
        height, width = example.image.shape[:2]
        images[index, :height, :width] = example.image
        instances = min(len(example.boxes), slots)
        truth.boxes[index, :instances] = example.boxes[:instances]
        truth.labels[index, :instances] = example.labels[:instances]
        truth.valid[index, :instances] = True
        for slot in range(instances):
            crop = pack_crop(crop_mask(example.masks[slot], example.boxes[slot]))
            truth.amodal_crops[index, slot] = truth.inmodal_crops[index, slot] = crop
        truth.occlusion_ratio[index, : instances // 2] = 0.2
    return Batch(
        images=images,
        sizes=np.array([example.image.shape[:2] for example in examples], np.int32),
        image_ids=np.arange(count, dtype=np.int32),
        valid=np.ones(count, bool),
        truth=truth,
    )


def _bounds(mask: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
