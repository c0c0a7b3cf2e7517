"""KITTI's instance maps: 256 * class id + instance index in every pixel, 0 for background.

KITTI's semantic benchmark has them as 16-bit PNGs, and the scene-flow methods that the paper feeds with KINS read them
(section 5.3).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt16

from amodal_jax.errors import DataError

# KITTI's label ids are Cityscapes': person, rider, car, train, truck, car, and trailer, which KITTI's own detection
# labels name first among their `Misc`.
KITTI_CLASS_IDS = {
    "pedestrian": 24,
    "cyclist": 25,
    "car": 26,
    "van": 26,
    "truck": 27,
    "tram": 31,
    "misc": 30,
    "rider": 25,
}
LARGEST_ID = 255
"""Of a class id and of an index: a byte for either."""


def draw_instance_map(
    masks: Sequence[Bool[np.ndarray, "H W"]],
    class_ids: Sequence[int],
    farthest_first: Sequence[int],
    image_size: tuple[int, int],
    where: str,
) -> UInt16[np.ndarray, "H W"]:
    """The map of one image.

    Args:
      masks: the visible part of each of the n instances.
      class_ids: of each of them in the map, 1 to 255. Indices run from 1 within a class id, in this sequence.
      farthest_first: the n instances in the order in which they are drawn, each over those before.
      image_size: (height, width).
      where: the name of the image, for messages.

    Raises:
      DataError: more than 255 instances of a class id.
    """
    counts: dict[int, int] = {}
    values = []
    for class_id in class_ids:
        counts[class_id] = counts.get(class_id, 0) + 1
        if counts[class_id] > LARGEST_ID:
            raise DataError(
                f"{where} has more than 255 instances of class id {class_id}, which a map cannot tell apart"
            )
        values.append(256 * class_id + counts[class_id])
    drawn = np.zeros(image_size, np.uint16)
    for place in farthest_first:
        drawn[masks[place]] = values[place]
    return drawn


def encode_instance_map(drawn: UInt16[np.ndarray, "H W"]) -> bytes:
    """The map as the content of a PNG file."""
    return cv2.imencode(".png", drawn)[1].tobytes()
