"""Anchors of the levels of features.

Shape shorthand: H, W a level's feature size; A anchors a position, sizes times aspect ratios.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32


def pyramid_anchors(
    feature_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int | tuple[int, int]],
    sizes: Sequence[Sequence[int | float]],
    aspect_ratios: Sequence[int | float],
    *,
    rounded: bool = True,
) -> tuple[Float32[np.ndarray, "_ 4"], ...]:
    """Anchor boxes of every level as constants, with the semantics of torchvision's or detectron2's generator.

    Args:
      feature_sizes: (height, width) of each level.
      strides: pixels from one feature to the next of each level, one number or (vertical, horizontal). torchvision
        takes the image's size // the feature size, which differs from the nominal stride where a level was rounded up;
        detectron2 takes the nominal one.
      sizes: sides in pixels of the square anchors of each level, as many on all.
      aspect_ratios: height / width, common to all levels.
      rounded: whether the sides of the boxes at the first position are rounded to whole pixels, as torchvision's are,
        and detectron2's not.

    Returns:
      For each level [H * W * A, 4], xyxy in pixels, in the order row, column, size, aspect ratio. Boxes at the first
      position are centred at the origin.

    Raises:
      ValueError: the numbers of feature sizes, strides and sizes differ.
    """
    ratio = np.sqrt(np.asarray(aspect_ratios, np.float32))
    levels = []
    for (height, width), stride, of_level in zip(feature_sizes, strides, sizes, strict=True):
        stride_y, stride_x = (stride, stride) if isinstance(stride, int) else stride
        side = np.asarray(of_level, np.float32)[:, None]
        half_width = ((1 / ratio) * side / 2).reshape(-1)
        half_height = (ratio * side / 2).reshape(-1)
        base = np.stack([-half_width, -half_height, half_width, half_height], axis=-1)
        if rounded:
            base = np.round(base)
        y, x = np.meshgrid(np.arange(height) * stride_y, np.arange(width) * stride_x, indexing="ij")
        shift = np.stack([x, y, x, y], axis=-1).astype(np.float32)
        levels.append((shift[:, :, None] + base).reshape(-1, 4))
    return tuple(levels)
