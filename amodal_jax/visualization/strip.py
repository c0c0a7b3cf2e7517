"""Pictures of one size beside each other, each with a line of text over it."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

_FONT = cv2.FONT_HERSHEY_DUPLEX
_WIDEST = 720  # pixels of a picture
_BAR = 26  # pixels of the text's line, and half of it in between
_GROUND = 255


def strip(pictures: Sequence[UInt8[np.ndarray, "H W 3"]], captions: Sequence[str]) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Joins pictures: those that are wide over each other, others side by side.

    Args:
      pictures: one or more, uint8 RGB, all of one size; larger ones than 720 pixels are made smaller.
      captions: the text over each.
    """
    height, width = pictures[0].shape[:2]
    scale = min(1.0, _WIDEST / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    panels = []
    for picture, caption in zip(pictures, captions, strict=True):
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
        panel = np.full((_BAR + size[1], size[0], 3), _GROUND, np.uint8)
        panel[_BAR:] = small
        cv2.putText(panel, caption, (2, _BAR - 8), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        panels.append(panel)
    down = size[0] > 1.5 * size[1]
    gap_shape = (_BAR // 2, size[0], 3) if down else (_BAR + size[1], _BAR // 2, 3)
    gap = np.full(gap_shape, _GROUND, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(parts, axis=0 if down else 1)
