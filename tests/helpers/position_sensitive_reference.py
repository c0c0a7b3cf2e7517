"""FCIS' position-sensitive pooling, cell by cell as `psroi_pooling.cu` of msracver/FCIS has it, and slow.

In fractions, which leave no cell's edge that is on the border of two features to rounding.
"""

import math
from fractions import Fraction

import numpy as np

SMALLEST_SIDE = Fraction(1, 10)


def position_sensitive_pool(maps, rois, cells, stride):
    """Float64 [N, C, C, F] from maps [F, G, G, H, W] and RoIs [N, 4] of which the second corner is a pixel inside."""
    features, groups, _, height, width = maps.shape
    pooled = np.zeros((len(rois), cells, cells, features))
    for number, roi in enumerate(rois):
        # C's round, which halves leave zero by.
        x1, y1 = (Fraction(math.floor(edge + 0.5), stride) for edge in roi[:2])
        x2, y2 = (Fraction(math.floor(edge + 0.5) + 1, stride) for edge in roi[2:])
        cell_height = max(y2 - y1, SMALLEST_SIDE) / cells
        cell_width = max(x2 - x1, SMALLEST_SIDE) / cells
        for row in range(cells):
            top = min(max(math.floor(row * cell_height + y1), 0), height)
            bottom = min(max(math.ceil((row + 1) * cell_height + y1), 0), height)
            for column in range(cells):
                left = min(max(math.floor(column * cell_width + x1), 0), width)
                right = min(max(math.ceil((column + 1) * cell_width + x1), 0), width)
                if bottom <= top or right <= left:
                    continue
                of_group = maps[:, row * groups // cells, column * groups // cells]
                pooled[number, row, column] = of_group[:, top:bottom, left:right].mean(axis=(1, 2))
    return pooled
