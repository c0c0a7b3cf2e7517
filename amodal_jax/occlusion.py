"""When an object counts as occluded."""

from typing import Any

import numpy as np

OCCLUSION_THRESHOLD = 0.05
"""The paper's: an instance is occluded when a larger share of it is hidden."""


def is_occluded(ratio: Any, threshold: float = OCCLUSION_THRESHOLD) -> Any:
    """Whether a larger share of an object is hidden than `threshold`, for one occlusion ratio or an array of them.

    They are compared as float32, in which records hold the ratio and networks are trained: an object of which just a
    twentieth is hidden would otherwise be over 5 % or not as it happens to be rounded.
    """
    return np.asarray(ratio, np.float32) > np.float32(threshold)
