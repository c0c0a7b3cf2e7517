"""RoI warping, bin by bin as `roi_warping_layer.cu` of daijifeng001/caffe-mnc has it, and slow."""

import math

import numpy as np


def roi_warping(features, boxes, size, stride):
    """The values [N, size, size, C] of one map [H, W, C], in double precision."""
    features = np.asarray(features, np.float64)
    height, width, channels = features.shape
    out = np.zeros((len(boxes), size, size, channels))
    for box in range(len(boxes)):
        x1, y1, x2, y2 = (math.floor(float(value) / stride + 0.5) for value in boxes[box])
        bin_height, bin_width = max(y2 - y1, 0) / size, max(x2 - x1, 0) / size
        for row in range(size):
            for column in range(size):
                y, x = y1 + row * bin_height, x1 + column * bin_width
                if y < -0.5 or y > height - 0.5 or x < -0.5 or x > width - 0.5:
                    continue
                y, x = max(y, 0), max(x, 0)
                top, left = int(y), int(x)
                if top >= height - 1:
                    top = bottom = height - 1
                    y = top
                else:
                    bottom = top + 1
                if left >= width - 1:
                    left = right = width - 1
                    x = left
                else:
                    right = left + 1
                down, across = y - top, x - left
                out[box, row, column] = (
                    (1 - down) * (1 - across) * features[top, left]
                    + (1 - down) * across * features[top, right]
                    + down * (1 - across) * features[bottom, left]
                    + down * across * features[bottom, right]
                )
    return out
