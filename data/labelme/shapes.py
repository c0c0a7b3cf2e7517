"""One json file of labelme: its shapes, put together to instances with amodal and visible masks.

How a person says in labelme what KINS needs:

label        the class; `__ignore__` and `_background_` are none, and their shapes are left out
group_id     the instance, as labelme itself means it: shapes of one label and group_id are one object. A shape without
             a group_id is an object of its own.
description  the depth, a whole number, 1 for the nearest; alone or as "order 2". It only has to be right among objects
             that overlap.
flags        `visible` marks a shape as the visible part of its object; other shapes are amodal, hidden parts included.
"""

import base64
import binascii
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from amodal_jax.image_framing import file_damage, stored_size
from amodal_jax.json_file import read_json, shorten
from amodal_jax.json_values import truth_value, whole_number
from amodal_jax.segmentation import Rle
from data.all_problems import raise_all
from data.json_file import name
from data.labelme.images import ImageOfFile, image_of_file

VISIBLE_FLAG = "visible"
NO_CLASSES = ("__ignore__", "_background_")
"""Labels that labelme's own examples have for what is to be ignored: no classes, whether a list of classes has them."""

# `rotation` is what other programs of labelme's form call an `oriented_rectangle`.
_POLYGONS = ("polygon", "rectangle", "oriented_rectangle", "rotation")
_CIRCLE_CORNERS = 360  # within 0.04 pixels of a circle of 1000 pixels' radius

_DEPTH_ALONE = re.compile(r"\s*(\d{1,6})\s*")
_DEPTH_NAMED = re.compile(r"\border\s*[:=]?\s*(\d{1,6})\b", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledObject:
    """One object that was annotated."""

    class_name: str
    name: str  # for messages: the label, with the group or the number of the shape
    amodal: Rle
    visible: Rle | None  # None where no visible part was drawn
    depth: int | None  # None where no number was given


@dataclass(frozen=True)
class LabelledImage:
    """One file of labelme."""

    path: Path
    image: ImageOfFile
    objects: tuple[LabelledObject, ...]
    flaws: tuple[str, ...]  # what was wrong, with the file and the shape
    ignored: int  # shapes with a label that is no class


def read_labelled_image(
    path: Path,
    *,
    source: Path,
    image_folders: tuple[Path, ...] = (),
    class_names: tuple[str, ...] | None = None,
) -> LabelledImage | None:
    """Reads a file of labelme and finds its image; gives None for json of another kind.

    Args:
        path: of the json file.
        source: the folder of all json files.
        image_folders: as `data.labelme.images.image_of_file` takes them.
        class_names: every class; None for whatever occurs.

    Raises:
        DataError: the file is no json, the image is missing, damaged or of another size, a shape cannot be drawn, is no
            area or of no class, or shapes of one object contradict each other; `SeveralErrors`, where it is more than
            one of these.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"shapes", "imagePath"} & content.keys():
        return None
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise DataError(f"{path}: has no list `shapes`, as files of labelme have")
    image = image_of_file(path, content, image_folders, source)
    for key, actual in (("imageHeight", image.height), ("imageWidth", image.width)):
        if content.get(key) not in (None, actual):
            raise DataError(
                f"{path}: {key} is {shorten(content[key])}, but {image.path} has {actual}: it is another image"
            )

    flaws: list[str] = []
    errors: list[DataError] = []
    ignored = 0
    drawn: dict[tuple[str, str], list[_Shape]] = {}
    for number, shape in enumerate(shapes, start=1):
        if isinstance(shape, dict) and name(shape, "label") in NO_CLASSES:
            ignored += 1
            continue
        try:
            read, found = _read_shape(shape, f"{path}: shape {number}", image.height, image.width)
            if class_names is not None and read.label not in class_names:
                raise DataError(
                    f"{path}: {read.label} (shape {number}) is none of the classes {', '.join(class_names)}"
                )
            if read.group is None and read.visible:
                raise DataError(
                    f"{path}: shape {number} is flagged as visible; give it the group_id of its amodal shape"
                )
        except DataError as error:
            errors.append(error)
            continue
        flaws += found
        drawn.setdefault((read.label, _object_name(read, number)), []).append(read)
    if errors:
        # What is left of an object would only seem to contradict itself.
        raise_all(path, errors)
    objects = []
    for (label, object_name), members in drawn.items():
        try:
            objects.append(_object(path, label, f"{label} ({object_name})", members))
        except DataError as error:
            errors.append(error)
    raise_all(path, errors)
    return LabelledImage(path, image, tuple(objects), tuple(flaws), ignored)


@dataclass(frozen=True)
class _Shape:
    label: str
    group: int | None
    visible: bool
    depth: int | None
    mask: Rle


def _object_name(shape: _Shape, number: int) -> str:
    return f"shape {number}" if shape.group is None else f"group {shape.group}"


def _object(path: Path, label: str, name: str, shapes: list[_Shape]) -> LabelledObject:
    amodal = [shape.mask for shape in shapes if not shape.visible]
    visible = [shape.mask for shape in shapes if shape.visible]
    if not amodal:
        raise DataError(f"{path}: {name} has a visible part only; draw its amodal shape, hidden parts included")
    depths = {shape.depth for shape in shapes if shape.depth is not None}
    if len(depths) > 1:
        raise DataError(f"{path}: the shapes of {name} have different numbers in their descriptions: {sorted(depths)}")
    return LabelledObject(
        class_name=label,
        name=name,
        amodal=segmentation.union(amodal),
        visible=segmentation.union(visible) if visible else None,
        depth=next(iter(depths), None),
    )


def _read_shape(shape: Any, where: str, height: int, width: int) -> tuple[_Shape, list[str]]:
    if not isinstance(shape, dict):
        raise DataError(f"{where} is no object")
    label, group = name(shape, "label"), whole_number(shape.get("group_id"))
    description, flags = shape.get("description") or "", shape.get("flags") or {}
    if label is None:
        raise DataError(f"{where} has no label that can be printed")
    where = f"{where} ({label})"
    if group is None and shape.get("group_id") is not None:
        raise DataError(f"{where}: group_id is no whole number, but {shorten(shape['group_id'])}")
    if not isinstance(description, str) or not isinstance(flags, dict):
        raise DataError(f"{where}: description is no text, or flags are no object")
    visible = truth_value(flags.get(VISIBLE_FLAG, False))
    if visible is None:
        raise DataError(
            f"{where}: the flag '{VISIBLE_FLAG}' is neither true nor false, but {shorten(flags[VISIBLE_FLAG])}"
        )
    mask, flaws = _mask(shape, where, height, width)
    number = _DEPTH_ALONE.fullmatch(description) or _DEPTH_NAMED.search(description)
    depth = int(number[1]) if number else None
    return _Shape(label, group, visible, depth, mask), [f"{where}: {flaw}" for flaw in flaws]


def _mask(shape: dict, where: str, height: int, width: int) -> tuple[Rle, tuple[str, ...]]:
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        raise DataError(f"{where}: points are no list of [x, y]")
    if kind in ("rectangle", "circle") and len(points) == 2:
        points, kind = (_corners if kind == "rectangle" else _circle)(*points), "polygon"
    rle: Rle | None
    flaws: tuple[str, ...] = ()
    if kind == "mask":
        rle = _pasted_mask(shape.get("mask"), points, where, height, width)
    elif kind in _POLYGONS:
        rle, flaws = segmentation.parse([points], height, width)
    elif kind == "circle":
        raise DataError(f"{where}: a circle has two points, its middle and one of its border; this has {len(points)}")
    else:
        raise DataError(
            f"{where}: is a {shorten(kind)}, which has no area that counts; draw a polygon, rectangle, circle or mask, "
            f"or label it {NO_CLASSES[0]}"
        )
    if rle is None or not segmentation.area(rle):
        raise DataError(": ".join([where, "nothing of it can be drawn in the image", *flaws]))
    return rle, flaws


def _corners(corner: list[float], opposite: list[float]) -> list[list[float]]:
    (x1, y1), (x2, y2) = corner, opposite
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def _circle(middle: list[float], border: list[float]) -> list[list[float]]:
    """The circle around the first point through the second as a polygon."""
    radius = math.dist(middle, border)
    angles = (2 * math.pi * corner / _CIRCLE_CORNERS for corner in range(_CIRCLE_CORNERS))
    return [[middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)] for angle in angles]


def _pasted_mask(encoded: Any, points: list, where: str, height: int, width: int) -> Rle:
    """The mask of a shape of type `mask`: a PNG in base64, which lies at the first of its two points."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError):
        content = b""
    size = None if file_damage(content) else stored_size(content)
    if size is None or len(points) != 2 or size[0] > height or size[1] > width:
        raise DataError(f"{where}: its mask is no PNG image that fits into {height} rows and {width} columns")
    patch = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if patch is None:
        raise DataError(f"{where}: its mask cannot be decoded")
    left, top = (round(max(-1e6, min(1e6, value))) for value in points[0])
    mask = np.zeros((height, width), bool)
    rows, columns = np.nonzero(patch)
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    mask[rows[inside], columns[inside]] = True
    return segmentation.encode(mask)


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 for value in point)
    )
