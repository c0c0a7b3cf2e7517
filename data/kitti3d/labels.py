"""Reads the text files of KITTI's object detection benchmark: `label_2` and `calib`.

The rectified camera frame is in metres: x to the right, y down, z forward.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from amodal_jax.errors import DataError
from amodal_jax.text_file import read_text
from data.all_problems import raise_all

DONT_CARE = "DontCare"
CLASS_NAMES = {
    "Car": "car",
    "Van": "van",
    "Truck": "truck",
    "Pedestrian": "pedestrian",
    # KINS' annotation files have no class of its own for who sits.
    "Person_sitting": "pedestrian",
    "Cyclist": "cyclist",
    "Tram": "tram",
    "Misc": "misc",
}
"""KITTI's type to KINS' class."""

# What no street has: a damaged number is to be named, not drawn.
_LARGEST_SIDE = 100.0  # metres
_FARTHEST = 1000.0  # metres
_LEAST_DETERMINANT = 1e-6


@dataclass(frozen=True)
class Object3d:
    """One line of a label file."""

    type: str  # as KITTI names it
    truncation: float  # share of the object outside the image, 0..1
    occlusion: int  # 0 fully visible, 1 partly, 2 largely occluded, 3 unknown
    box: tuple[float, float, float, float]  # of what is visible: [x1, y1, x2, y2], pixels
    height: float  # metres
    width: float
    length: float
    bottom: tuple[float, float, float]  # middle of the box's underside, rectified camera frame, metres
    rotation_y: float  # radians; 0 heads along x, -pi / 2 along z


def read_labels(path: Path) -> list[Object3d]:
    """The objects of a label file, without the regions that KITTI marks as `DontCare`.

    Raises:
        DataError: the file cannot be read, or a line is not one of KITTI's; names file and line. `SeveralErrors`, where
            several are not.
    """
    objects, errors = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0] == DONT_CARE:
            continue
        try:
            objects.append(_object(words, f"{path}: line {number}"))
        except DataError as error:
            errors.append(error)
    raise_all(path, errors)
    return objects


def _object(words: list[str], where: str) -> Object3d:
    if len(words) not in (15, 16):
        raise DataError(f"{where} has {len(words)} fields, a KITTI label has 15 (16 with a score)")
    if words[0] not in CLASS_NAMES:
        raise DataError(f"{where} is of the type {words[0]!r}; KITTI's are {', '.join(CLASS_NAMES)}, {DONT_CARE}")
    values = _numbers(words[1:15], where)
    truncation, occlusion, _, x1, y1, x2, y2, height, width, length, x, y, z, rotation_y = values
    if occlusion not in (0, 1, 2, 3):
        raise DataError(f"{where} has the occlusion level {words[2]}; KITTI's are 0, 1, 2 and 3")
    if not 0 <= truncation <= 1:
        raise DataError(f"{where} has a truncation of {words[1]}; it has to lie between 0 and 1")
    if x2 < x1 or y2 < y1:
        raise DataError(f"{where} has a 2D box that ends before it begins")
    if not all(0 < side <= _LARGEST_SIDE for side in (height, width, length)):
        raise DataError(f"{where} has a 3D box of {height} x {width} x {length} m (height, width, length)")
    if max(abs(x), abs(y), abs(z)) > _FARTHEST:
        raise DataError(f"{where} has a 3D box at ({x}, {y}, {z}) m, farther away than any camera sees")
    return Object3d(
        words[0], truncation, int(occlusion), (x1, y1, x2, y2), height, width, length, (x, y, z), rotation_y
    )


def read_projection(path: Path) -> Float[np.ndarray, "3 4"]:
    """The matrix P2 of a calibration file: from the rectified camera frame to the left colour image, pixels.

    Raises:
        DataError: the file cannot be read, has no P2, or one that projects nothing; names file and line.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key, _, values = line.partition(":")
        if key.strip() != "P2":
            continue
        where = f"{path}: line {number}"
        numbers = _numbers(values.split(), where)
        if len(numbers) != 12:
            raise DataError(f"{where} has {len(numbers)} numbers, P2 has 12")
        projection = np.array(numbers).reshape(3, 4)
        if np.abs(projection).max() > 1e6 or not abs(np.linalg.det(projection[:, :3])) > _LEAST_DETERMINANT:
            raise DataError(f"{where} holds no camera matrix")
        return projection
    raise DataError(f"{path} has no line P2, the matrix by which the left colour camera projects 3D boxes")


def _numbers(words: list[str], where: str) -> list[float]:
    numbers = []
    for word in words:
        try:
            number = float(word)
        except ValueError:
            raise DataError(f"{where} has {word!r} where a number belongs") from None
        if not np.isfinite(number):
            raise DataError(f"{where} has {word!r} where a finite number belongs")
        numbers.append(number)
    return numbers
