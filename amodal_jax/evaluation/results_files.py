"""Result files of any tool, in COCO's results format, read so that they can be scored as our own.

A file is a json list of detections, `{"image_id": ..., "category_id": ..., "score": ..., "bbox": ..., "segmentation":
...}` each, with a probability `occluded` besides where the tool has one. Whatever cannot be scored is refused with the
file and the place of the detection in its list, counted from 0.
"""

import difflib
import logging
from os.path import splitext
from pathlib import Path
from typing import Any

from amodal_jax.cli.progress import progress_bar
from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, Result
from amodal_jax.files.image_paths import ImagePaths
from amodal_jax.files.json_file import read_json, shorten
from amodal_jax.files.json_values import is_number, whole_number
from amodal_jax.masks import segmentation

_logger = logging.getLogger(__name__)

_BORDER_TOLERANCE = 1.0  # pixels; tools differ in whether the last pixel is part of a box


def read_results(files: dict[str, Path], truth: AnnotatedImages, *, progress: bool = True) -> dict[str, list[Result]]:
    """Reads result files as `metrics.evaluate_results` takes them.

    A detection names its image by its id, a number, in `image_id`, or by the name of its file in `image_id` or
    `file_name`, with or without folders and extension: the image whose path shares the longest end with it.
    `category_id` is one of `truth.categories`. `segmentation` is a run-length code of the image's size, compressed or
    not, or polygons; where none of them has three points the mask has no pixel, and is wrong wherever it stands. Other
    keys are not read.

    Args:
      files: by kind, "det" (every detection needs a `bbox`, xywh, amodal), "amodal" and "inmodal" (every one needs a
        `segmentation`). Without "det" the boxes are those of the amodal file; if that has none at all, they are drawn
        around its masks, which a warning says.
      truth: what the results are about.
      progress: show a progress bar for each file.

    Returns:
      By kind, the detections in the order of their file.

    Raises:
      DataError: a file that is missing, no json, no list or empty, or a detection that cannot be scored; names the file
        and the detection.
    """
    images = _Images(truth)
    results = {kind: _read_file(path, kind, images, truth, progress) for kind, path in files.items()}
    if "amodal" in files and "det" not in files:
        results["det"] = _boxes_of_masks(files["amodal"], results["amodal"])
    return results


class _Unusable(Exception):
    """A detection that cannot be scored, and why; its file and place are added where they are known."""


class _Images:
    """The images of the ground truth, found by their ids and names."""

    def __init__(self, truth: AnnotatedImages):
        self._sizes = truth.image_sizes
        self._names = truth.file_names
        self._by_path = ImagePaths(truth.file_names)
        self._by_stem = ImagePaths({one: splitext(name)[0] for one, name in truth.file_names.items()})

    def find(self, entry: dict[str, Any]) -> int:
        """The id of a detection's image."""
        identifier, name = entry.get("image_id"), entry.get("file_name")
        if isinstance(identifier, str):
            return self._find_name(identifier)
        if identifier is None:
            if not isinstance(name, str):
                raise _Unusable('has neither "image_id" nor "file_name": one of the two has to name its image')
            return self._find_name(name)
        identifier = _integer(entry, "image_id")
        if identifier not in self._sizes:
            raise _Unusable(
                f"image_id {identifier} is none of the {len(self._sizes)} images of the ground truth, whose ids are "
                f"within {min(self._sizes)}..{max(self._sizes)}; the names of the files can stand in place of ids"
            )
        if isinstance(name, str) and self._names and identifier not in self._candidates(name):
            raise _Unusable(
                f'image_id {identifier} is "{self._names[identifier]}" in the ground truth, but file_name is "{name}"; '
                "leave out the one that is wrong"
            )
        return identifier

    def _candidates(self, name: str) -> list[int]:
        return self._by_path.named(name) or self._by_stem.named(name)

    def _find_name(self, name: str) -> int:
        found = self._candidates(name)
        if not found:
            near = difflib.get_close_matches(name, self._names.values(), n=1)
            hint = f'; the nearest is "{near[0]}"' if near else ""
            raise _Unusable(f'no image of the ground truth is called "{name}"{hint}; ids are numbers, names are text')
        if len(found) > 1:
            others = ", ".join(f'"{self._names[identifier]}" (id {identifier})' for identifier in found)
            raise _Unusable(f'"{name}" may be any of {others}; write the id, a number, as image_id')
        return found[0]


def _read_file(path: Path, kind: str, images: _Images, truth: AnnotatedImages, progress: bool) -> list[Result]:
    required = "bbox" if kind == "det" else "segmentation"
    readers = {"bbox": _box, "segmentation": _mask}
    outside = dict.fromkeys(readers, 0)
    results: list[Result] = []
    entries = _entries(path)
    with progress_bar(entries, description=path.name, unit="result", shown=progress) as bar:
        for index, entry in enumerate(bar):
            try:
                if not isinstance(entry, dict):
                    raise _Unusable(f"is no json object, but {shorten(entry)}")
                image_id = images.find(entry)
                result: Result = {
                    "image_id": image_id,
                    "category_id": _category(entry, truth),
                    "score": _number(entry, "score"),
                }
                for key, read in readers.items():
                    if key == required or (kind == "amodal" and entry.get(key) is not None):
                        result[key], beyond = read(entry, *truth.image_sizes[image_id])
                        outside[key] += beyond
                if entry.get("occluded") is not None:
                    result["occluded"] = _probability(entry, "occluded")
            except _Unusable as error:
                raise DataError(f"{path}: result {index}: {error}") from None
            results.append(result)
    for key, count in outside.items():
        if count:
            _logger.warning(
                "%s: the %s of %d of %d results reaches outside its image; it has to be in the image's own pixels%s",
                path,
                key,
                count,
                len(results),
                ", as [x, y, width, height]" if key == "bbox" else "",
            )
    return results


def _entries(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        whole = isinstance(content, dict) and "annotations" in content
        hint = '; take the list under its key "annotations"' if whole else ""
        raise DataError(f"{path}: holds no list of results, but {shorten(content)}{hint}")
    if not content:
        raise DataError(
            f"{path}: is an empty list, which leaves nothing to score; leave the file out or write it again"
        )
    return content


def _boxes_of_masks(path: Path, amodal: list[Result]) -> list[Result]:
    """The detections' own boxes, or those around their masks where the file has no boxes at all."""
    without = [index for index, one in enumerate(amodal) if "bbox" not in one]
    if without and len(without) < len(amodal):
        raise DataError(
            f'{path}: result {without[0]}: has no "bbox", which others have; write one for each detection, or none, '
            "and boxes are drawn around the masks"
        )
    if without:
        _logger.warning("%s: has no boxes; Det is measured on the boxes around its masks", path)
    boxes = []
    for one in amodal:
        box = one.get("bbox")
        if box is None:
            x1, y1, x2, y2 = segmentation.bounding_box(one["segmentation"])
            box = [x1, y1, x2 - x1, y2 - y1]
        boxes.append({key: value for key, value in one.items() if key != "segmentation"} | {"bbox": box})
    return boxes


def _integer(entry: dict[str, Any], key: str) -> int:
    number = whole_number(entry.get(key))
    if number is None:
        raise _Unusable(f'needs a whole number as "{key}"; it has {shorten(entry.get(key))}')
    return number


def _category(entry: dict[str, Any], truth: AnnotatedImages) -> int:
    identifier = _integer(entry, "category_id")
    if identifier not in truth.categories:
        known = ", ".join(f"{key} {name}" for key, name in truth.categories.items())
        raise _Unusable(f"category_id {identifier} is none of the ground truth's: {known}")
    return identifier


def _number(entry: dict[str, Any], key: str) -> float:
    value = entry.get(key)
    if not is_number(value):
        raise _Unusable(f'needs a finite number as "{key}"; it has {shorten(value)}')
    return float(value)


def _probability(entry: dict[str, Any], key: str) -> float:
    value = entry[key]
    if not isinstance(value, bool) and not (is_number(value) and 0 <= value <= 1):
        raise _Unusable(f'needs a probability within 0..1 as "{key}", or none at all; it has {shorten(value)}')
    return float(value)


def _box(entry: dict[str, Any], height: int, width: int) -> tuple[list[float], bool]:
    """The box, and whether it reaches outside the image."""
    box = entry.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        raise _Unusable(f'needs [x, y, width, height] in pixels as "bbox"; it has {shorten(box)}')
    x, y, box_width, box_height = box
    if box_width < 0 or box_height < 0:
        raise _Unusable(f'has a "bbox" of negative width or height, {box}; COCO\'s boxes are [x, y, width, height]')
    beyond = min(x, y, width - x - box_width, height - y - box_height) < -_BORDER_TOLERANCE
    return [float(value) for value in box], beyond


def _mask(entry: dict[str, Any], height: int, width: int) -> tuple[segmentation.Rle, bool]:
    """The mask, and whether it was cut off at the image's border."""
    found = entry.get("segmentation")
    if not isinstance(found, list | dict):
        raise _Unusable(f'needs a run-length code or polygons as "segmentation"; it has {shorten(found)}')
    rle, flaws = segmentation.parse(found, height, width)
    if isinstance(found, dict) and segmentation.SIZE_DIFFERS in flaws:
        raise _Unusable(
            f'its "segmentation" is of the size {shorten(found.get("size"))}, but the image has {height} rows and '
            f"{width} columns; write masks in pixels of the image's file, size as [height, width]"
        )
    unreadable = set(flaws) - {segmentation.POLYGON_TOO_SHORT, segmentation.BEYOND_IMAGE}
    if unreadable:
        raise _Unusable(f'its "segmentation" cannot be read: {", ".join(sorted(unreadable))}')
    return rle or segmentation.empty(height, width), segmentation.BEYOND_IMAGE in flaws
