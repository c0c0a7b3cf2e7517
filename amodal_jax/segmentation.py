"""Polygons and run-length codes, the two ways in which COCO-style files write a mask, to masks and back.

H x W is the image. A mask is bool [H, W]. An `Rle` is COCO's compressed run-length code as `pycocotools` takes it, with
its counts as text so that it can stand in a json file. Polygons are flat lists [x0, y0, x1, y1, ...] in pixels.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple, TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from pycocotools import mask as coco_mask

from amodal_jax.json_values import whole_number

POLYGON_TOO_SHORT = "polygon of fewer than three points"
POLYGON_UNREADABLE = "polygon that is no list of x, y pairs"
POLYGON_TOO_FAR = "polygon with a coordinate that no image has"
RLE_UNREADABLE = "run-length code that does not fill its image"
SIZE_DIFFERS = "run-length code of another size than its image"
BEYOND_IMAGE = "mask reaching outside its image"

# Annotation tools round outwards at the border of an image; what lies further out is an error of the file.
_BORDER_TOLERANCE = 1.0
# The rasteriser's work and memory grow with the length of the outline, so that one wild coordinate, or many points of
# which each is far from the last, would stop the machine.
_LARGEST_COORDINATE = 1e5
_LONGEST_OUTLINE = 1e6


class Rle(TypedDict):
    """COCO's compressed run-length code: runs down the columns, from the top left, background first."""

    size: list[int]  # [height, width]
    counts: str


class Parsed(NamedTuple):
    """A mask read from a file, and what was wrong with it."""

    rle: Rle | None  # None where nothing that could be a mask is left
    flaws: tuple[str, ...]


def encode(mask: Bool[np.ndarray, "H W"]) -> Rle:
    """The run-length code of a mask."""
    return _as_text(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))


def empty(height: int, width: int) -> Rle:
    """The run-length code of a mask without a pixel."""
    return encode(np.zeros((height, width), bool))


def decode(rle: Rle) -> Bool[np.ndarray, "H W"]:
    """The mask of a run-length code."""
    return coco_mask.decode(rle).astype(bool)


def decode_columns(rle: Rle, first: int, last: int) -> Bool[np.ndarray, "H columns"]:
    """The columns from `first` up to `last` of the mask of a run-length code, without the work of the others."""
    height = rle["size"][0]
    ends = np.clip(np.cumsum(run_lengths(rle["counts"])), first * height, last * height)
    runs = np.diff(ends, prepend=first * height)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(last - first, height).T


def difference(rle: Rle, other: Rle) -> Rle:
    """The pixels of a mask that another one, of the same size, has not."""
    runs = run_lengths(other["counts"]).tolist()
    # Without, or with, a first run of no background, background and mask change places.
    inverted = {"size": other["size"], "counts": runs[1:] if runs[0] == 0 else [0, *runs]}
    outside = coco_mask.frPyObjects(inverted, *other["size"])
    return _as_text(coco_mask.merge([rle, outside], intersect=True))


def union(masks: Sequence[Rle]) -> Rle:
    """The pixels of any of one or more masks of one size."""
    return _as_text(coco_mask.merge(list(masks)))


def intersection(masks: Sequence[Rle]) -> Rle:
    """The pixels that all of one or more masks of one size have."""
    return _as_text(coco_mask.merge(list(masks), intersect=True))


def majority(masks: Sequence[Rle]) -> Rle:
    """The pixels that more than half of one or more masks of one size have."""
    ends = np.concatenate([np.cumsum(run_lengths(rle["counts"])) for rle in masks])
    # In every mask background ends first, then foreground, and so on in turns.
    changes = np.concatenate([np.resize([1, -1], len(run_lengths(rle["counts"]))) for rle in masks])
    order = np.argsort(ends, kind="stable")
    wanted = np.cumsum(changes[order]) > len(masks) / 2
    # Of several changes at one place the last one counts.
    places, last = ends[order], np.append(np.diff(ends[order]) > 0, True)
    places, wanted = places[last], wanted[last]
    switches = places[np.flatnonzero(np.diff(wanted, prepend=False))]
    height, width = masks[0]["size"]
    runs = np.diff(switches[switches < height * width], prepend=0, append=height * width)
    return _of_runs(runs, height, width)


def intersection_area(*masks: Rle) -> int:
    """The number of pixels that all of one or more masks of one size have."""
    return int(coco_mask.area(coco_mask.merge(list(masks), intersect=True)))


def area(rle: Rle) -> int:
    """The number of pixels of a mask."""
    return int(coco_mask.area(rle))


def bounding_box(rle: Rle) -> tuple[float, float, float, float]:
    """The smallest [x1, y1, x2, y2] around a mask's pixels, on whole numbers; zeros for an empty mask."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(rle))
    return x, y, x + width, y + height


def run_lengths(counts: str | bytes) -> Int[np.ndarray, " runs"]:
    """The run lengths that COCO's compressed counts stand for.

    Each run is written in groups of five bits, the lowest first, in the characters from `0` on; a sixth bit says that
    another group follows, the highest bit of the last group is the sign. From the fourth run on it is the difference to
    the run two before that is written.

    Raises:
      ValueError: a character is outside the code, or the text ends within a run.
    """
    symbols = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8).astype(np.int64) - 48
    if not len(symbols):
        return symbols
    last = (symbols & 32) == 0
    if symbols.min() < 0 or symbols.max() > 63 or not last[-1]:
        raise ValueError("no compressed run-length code")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    group_index = np.arange(len(symbols)) - np.repeat(starts, np.diff(np.append(starts, len(symbols))))
    if group_index.max() > 8:
        raise ValueError("no compressed run-length code")
    runs = np.add.reduceat((symbols & 31) << (5 * group_index), starts)
    negative = (symbols[last] & 16) != 0
    runs[negative] -= 1 << (5 * (group_index[last][negative] + 1))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def parse(segmentation: Any, height: int, width: int) -> Parsed:
    """Reads a mask in any of the forms that files are known to use.

    Args:
      segmentation: a list of polygons, one polygon, or a run-length code with its counts compressed or as numbers.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Returns:
      The mask clipped to the image, with its flaws. Polygons that cannot be drawn are left out and named as flaws;
      the others are united. The mask is None where there is nothing left to draw.
    """
    if isinstance(segmentation, dict):
        return _parse_rle(segmentation, height, width)
    return _parse_polygons(segmentation, height, width)


def _parse_rle(segmentation: dict, height: int, width: int) -> Parsed:
    runs, size = _runs(segmentation), segmentation.get("size")
    if runs is None:
        return Parsed(None, (RLE_UNREADABLE,))
    if not isinstance(size, Sequence) or [whole_number(side) for side in size] != [height, width]:
        return Parsed(None, (SIZE_DIFFERS,))
    # Each by itself, too: a sum of huge runs may wrap around to the right one. NaN is within no bounds.
    if len(runs) == 0 or not (runs.min() >= 0 and runs.max() <= height * width) or runs.sum() != height * width:
        return Parsed(None, (RLE_UNREADABLE,))
    if runs.dtype.kind == "f" and (runs % 1).any():
        return Parsed(None, (RLE_UNREADABLE,))
    return Parsed(_of_runs(runs.astype(np.int64), height, width), ())


def _runs(segmentation: dict) -> Num[np.ndarray, " runs"] | None:
    """The run lengths of a code as they stand there; None where its counts are none."""
    counts = segmentation.get("counts")
    try:
        runs = run_lengths(counts) if isinstance(counts, str | bytes) else _numbers(counts)
    except ValueError:
        return None
    return runs if runs is not None and runs.dtype.kind in "iuf" else None


def _of_runs(runs: Int[np.ndarray, " runs"], height: int, width: int) -> Rle:
    """The run-length code of runs in turns of background and mask that fill an image.

    What runs of no pixel separate is joined. pycocotools has no check of its own: it draws a box of four thousand
    million pixels around [n, 0], and writes beyond its memory where there are more runs than pixels.
    """
    if not runs[1:].all():
        is_mask = np.arange(len(runs)) % 2 == 1
        is_mask, runs = is_mask[runs > 0], runs[runs > 0]
        starts = np.flatnonzero(np.diff(is_mask, prepend=not is_mask[0]))
        runs = np.concatenate([np.zeros(int(is_mask[0]), np.int64), np.add.reduceat(runs, starts)])
    return _as_text(coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width))


def _numbers(values: Any) -> np.ndarray | None:
    """A list of numbers as an array; None where it is no list, or holds what json does not write as a number."""
    if not isinstance(values, list) or not all(
        issubclass(kind, Real) and not issubclass(kind, bool) for kind in set(map(type, values))
    ):
        return None
    return np.array(values)


def has_empty_runs(segmentation: Any) -> bool:
    """Whether a mask is a run-length code with runs of no pixel behind the first, which not every program can read."""
    runs = _runs(segmentation) if isinstance(segmentation, dict) else None
    return runs is not None and not runs[1:].all()


def polygons(segmentation: Any) -> tuple[list[Float[np.ndarray, "points 2"]], tuple[str, ...]]:
    """The polygons of a mask that can be drawn, as points (x, y), and the flaws of those that cannot.

    Args:
      segmentation: a list of polygons, or one polygon; a polygon is a flat list or a list of pairs.
    """
    flaws: dict[str, None] = {}
    drawable = []
    if not isinstance(segmentation, list):
        return [], (POLYGON_UNREADABLE,)
    if segmentation and not isinstance(segmentation[0], list):
        segmentation = [segmentation]
    for polygon in segmentation:
        points = _coordinates(polygon)
        if points is None or points.size % 2 or np.isnan(points).any():
            flaws[POLYGON_UNREADABLE] = None
        elif np.any(np.abs(points) > _LARGEST_COORDINATE) or _outline(points) > _LONGEST_OUTLINE:
            flaws[POLYGON_TOO_FAR] = None
        elif points.size < 6:
            flaws[POLYGON_TOO_SHORT] = None
        else:
            drawable.append(points.reshape(-1, 2))
    return drawable, tuple(flaws)


def _coordinates(polygon: Any) -> Float[np.ndarray, " coordinates"] | None:
    """The numbers of a polygon, which are in pairs or in one list; None where that is not what it holds."""
    if isinstance(polygon, list) and polygon and all(isinstance(pair, list) and len(pair) == 2 for pair in polygon):
        polygon = [coordinate for pair in polygon for coordinate in pair]
    numbers = _numbers(polygon)
    try:
        return None if numbers is None else numbers.astype(np.float64)
    except OverflowError:  # a whole number that no float can hold
        return None


def _parse_polygons(segmentation: Any, height: int, width: int) -> Parsed:
    drawable, flaws = polygons(segmentation)
    if not drawable:
        return Parsed(None, flaws)
    if any(
        points.min() < -_BORDER_TOLERANCE or (points.max(axis=0) > np.array([width, height]) + _BORDER_TOLERANCE).any()
        for points in drawable
    ):
        flaws = (*flaws, BEYOND_IMAGE)
    united = coco_mask.merge(coco_mask.frPyObjects([points.ravel().tolist() for points in drawable], height, width))
    return Parsed(_as_text(united), flaws)


def _outline(points: Float[np.ndarray, " coordinates"]) -> float:
    """The length of a closed polygon, each side by the longer of its two differences."""
    corners = points.reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0).sum())


def _as_text(rle: dict) -> Rle:
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
