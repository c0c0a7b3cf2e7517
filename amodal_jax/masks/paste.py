"""Masks from the frames of their boxes to the image and to COCO's run lengths, on the host.

Shape shorthand: n instances; H, W image size; M mask cells a side.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Num
from pycocotools import mask as coco_mask

# It stands where an export has to do without this package.
from amodal_jax.export_runner import paste_at_pixel_centres
from amodal_jax.structures import MaskPaste


def paste_mask(
    probability: Float[np.ndarray, "M M"],
    box: Num[np.ndarray, "4"],
    image_size: tuple[int, int],
    threshold: float = 0.5,
    paste: MaskPaste = "pixel_centres",
) -> Bool[np.ndarray, "H W"]:
    """The pixels of the image that belong to the mask whose probability lies in the frame of a box.

    Args:
      probability: of each cell.
      box: xyxy, pixels. One that is reversed has no mask.
      image_size: (height, width).
      threshold: of the probability.
      paste: "pixel_centres" asks for the probability at the centre of each pixel, bilinear between the centres of cells
        and falling to 0 half a cell outside of the box, and takes what is at least `threshold`: detectron2's
        `paste_masks_in_image`. "torchvision" is the function of the same name there: the mask gets a border of one
        cell, the box grows with it and is cut to whole pixels, which makes masks about a pixel larger, the mask is
        resized to it bilinearly, and what is above `threshold` is taken.
    """
    image = np.zeros(image_size, bool)
    pasted, left, top = _paste_in_box(probability, box, image_size, threshold, paste)
    image[top : top + pasted.shape[0], left : left + pasted.shape[1]] = pasted
    return image


def encode_masks(
    probabilities: Float[np.ndarray, "n M M"],
    boxes: Num[np.ndarray, "n 4"],
    image_size: tuple[int, int],
    threshold: float = 0.5,
    paste: MaskPaste = "pixel_centres",
) -> list[dict]:
    """COCO's compressed run lengths, {"size": [H, W], "counts": str}, of each mask as `paste_mask` would paste it.

    Only the columns of the box are pasted and scanned. The result is byte-identical to encoding the whole image.
    """
    height, width = image_size
    encoded = []
    for probability, box in zip(probabilities, boxes, strict=True):
        pasted, left, top = _paste_in_box(probability, box, image_size, threshold, paste)
        # COCO scans columns, so that a transposed strip of whole columns is a contiguous part of the scan.
        strip = np.zeros((pasted.shape[1] + 1, height), bool)
        strip[:-1, top : top + pasted.shape[0]] = pasted.T
        scan = strip.reshape(-1)
        changes = np.flatnonzero(np.diff(scan, prepend=False)) + left * height
        changes = changes[changes < height * width]
        counts = np.diff(changes, prepend=0, append=height * width)
        encoded.append({"size": [height, width], "counts": counts.tolist()})
    compressed = coco_mask.frPyObjects(encoded, height, width) if encoded else []
    return [{"size": [height, width], "counts": rle["counts"].decode("ascii")} for rle in compressed]


def _paste_in_box(probability, box, image_size, threshold, paste):
    """The pasted mask within its box and the image, and the column and row of the image where it starts."""
    if paste == "pixel_centres":
        return paste_at_pixel_centres(probability, np.asarray(box), image_size, threshold)
    return _paste_as_torchvision(probability, box, image_size, threshold)


def _paste_as_torchvision(probability, box, image_size, threshold):
    cells = probability.shape[0]
    x1, y1, x2, y2 = _expand(np.asarray(box, np.float32), np.float32((cells + 2) / cells))
    height, width = image_size
    left, right = max(x1, 0), min(x2 + 1, width)
    top, bottom = max(y1, 0), min(y2 + 1, height)
    if left >= right or top >= bottom:
        return np.zeros((0, 0), bool), 0, 0
    padded = np.pad(probability.astype(np.float32), 1)
    resized = cv2.resize(padded, (max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)), interpolation=cv2.INTER_LINEAR)
    return resized[top - y1 : bottom - y1, left - x1 : right - x1] > threshold, left, top


def _expand(box, scale):
    """`box` about its centre, truncated to whole pixels; float32 throughout, as torchvision does it."""
    half = (box[2:] - box[:2]) * np.float32(0.5) * scale
    centre = (box[2:] + box[:2]) * np.float32(0.5)
    return [int(edge) for edge in np.concatenate([centre - half, centre + half])]
