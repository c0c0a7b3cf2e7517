"""Mask output alone: from a mask in the frame of its box to run lengths and to the image's pixels, on the host."""

import numpy as np
from pycocotools import mask as coco_mask

from amodal_jax.masks.paste import encode_masks, paste_mask
from scripts.benchmarks.measurement import Report, Work, interleave
from scripts.benchmarks.options import Options
from scripts.benchmarks.roi_align import random_boxes

MASKS = 200


def measure(options: Options) -> Report:
    """Times `MASKS` masks of an image in one thread, beside encoding the whole image."""
    rng = np.random.default_rng(0)
    cells = 2 * options.config.model.roi.mask_size
    size = (options.height, options.width)
    boxes = random_boxes(rng, MASKS, *size)
    distance = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, cells)] * 2))
    soft = 1 / (1 + np.exp(8 * (distance - rng.uniform(0.6, 1.1, (MASKS, 1, 1)))))
    probabilities = soft.astype(np.float32)

    def paste() -> None:
        for probability, box in zip(probabilities, boxes, strict=True):
            paste_mask(probability, box, size)

    def encode_whole() -> None:
        for probability, box in zip(probabilities, boxes, strict=True):
            coco_mask.encode(np.asfortranarray(paste_mask(probability, box, size).view(np.uint8)))

    functions: dict[str, Work] = {
        "to run lengths": lambda: encode_masks(probabilities, boxes, size) and None,
        "to pixels": paste,
        "to pixels, then to run lengths by pycocotools": encode_whole,
    }
    return Report(interleave(functions, options.repeats, count=MASKS, unit="mask"))
