"""Mask voting on the pixels of an image, one box after the other, as `lib/mask/mask_transform.py` of FCIS has it."""

import cv2
import numpy as np


def overlap(a, b):
    """IoU of two boxes whose second corners are pixels inside: a box from 0 to 0 is a pixel wide."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1
    intersection = max(sides[0], 0) * max(sides[1], 0)
    areas = [np.prod(box[2:] - box[:2] + 1) for box in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection)


def resized_to_box(mask, box):
    """The mask on the box' pixels, and the box in whole pixels."""
    x1, y1, x2, y2 = np.round(box).astype(int)
    return cv2.resize(mask.astype(np.float32), (x2 - x1 + 1, y2 - y1 + 1), interpolation=cv2.INTER_LINEAR), (x1, y1)


def vote(frame, boxes, scores, masks, image_size, threshold, voter_iou=0.5):
    """The tight box of the merged mask, and the merged mask resized to the cells of the masks.

    Args:
      frame: a box that non-maximum suppression kept. The second corners of boxes are pixels inside.
      boxes: [N, 4] of the candidates.
      scores: [N] of the candidates.
      masks: [N, S, S].
      image_size: (height, width).
      threshold: of the masks, before and after they are merged.
      voter_iou: with the frame.
    """
    voters = [number for number, box in enumerate(boxes) if overlap(frame, box) >= voter_iou]
    weights = np.array([scores[number] for number in voters], np.float64)
    weights /= weights.sum()
    merged = np.zeros(image_size)
    for number, weight in zip(voters, weights, strict=True):
        resized, (x1, y1) = resized_to_box(masks[number], boxes[number])
        height, width = resized.shape
        merged[y1 : y1 + height, x1 : x1 + width] += weight * (resized >= threshold)
    rows, columns = np.flatnonzero((merged >= threshold).any(axis=1)), np.flatnonzero((merged >= threshold).any(axis=0))
    x1, y1, x2, y2 = columns[0], rows[0], columns[-1], rows[-1]
    inside = merged[y1 : y2 + 1, x1 : x2 + 1].astype(np.float32)
    size = masks.shape[-1]
    return np.array([x1, y1, x2, y2]), cv2.resize(inside, (size, size), interpolation=cv2.INTER_LINEAR)
