"""Whether result files hold every image of the split, and each detection once.

Tools that run as several processes write a part of the images each, or some images twice to fill up a last batch. Both
cost average precision, and nothing in the figures tells them from a poor detector.
"""

import logging
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, Result
from amodal_jax.masks import segmentation

_logger = logging.getLogger(__name__)

_NAMED = 3  # images that a warning names


def check_completeness(
    files: dict[str, Path], results: dict[str, list[Result]], truth: AnnotatedImages, *, strict: bool
) -> dict[str, dict[str, int]]:
    """Counts what is there twice and what is not there, and warns of it.

    Args:
      files: the files by kind.
      results: what `results_files.read_results` gave for them.
      truth: what the results are about.
      strict: refuse such files.

    Returns:
      "repeated_detections" and "images_without_detections", each a number by kind of file. The first are detections of
      the image, class, score and place of one before, but for what different machines round differently; the second
      images that have objects.

    Raises:
      DataError: under `strict`, for all that would be warned of.
    """
    with_objects = {one.image_id for one in truth.instances if not one.is_crowd}
    counts: dict[str, dict[str, int]] = {"repeated_detections": {}, "images_without_detections": {}}
    complaints = []
    for kind, path in files.items():
        repeated = _repeated(results[kind])
        counts["repeated_detections"][kind] = len(repeated)
        if repeated:
            complaints.append(
                f"{path}: {len(repeated)} of {len(results[kind])} results have the image, class, score and place of "
                f"one before, the first of them in place {repeated[0]}; each such copy counts as a false detection: "
                "write every image once"
            )
        missing = sorted(with_objects - {one["image_id"] for one in results[kind]})
        counts["images_without_detections"][kind] = len(missing)
        if missing:
            names = [str(truth.file_names.get(one, one)) for one in missing[:_NAMED]]
            names += ["..."] * (len(missing) > _NAMED)
            complaints.append(
                f"{path}: {len(missing)} of {len(with_objects)} images with objects have no result "
                f"({', '.join(names)}), so that all of their objects count as missed; if there are "
                "files of other parts, join them"
            )
    if strict and complaints:
        raise DataError("; ".join(complaints))
    for complaint in complaints:
        _logger.warning("%s", complaint)
    return counts


def _repeated(results: list[Result]) -> list[int]:
    """The places of the detections that are the same as one before."""
    seen = set()
    repeated = []
    for place, one in enumerate(results):
        # The same image, run twice, gives numbers that differ in their last digits and masks that differ in a pixel.
        key = (one["image_id"], one["category_id"], f"{one['score']:.4g}", *map(round, _box(one)))
        if key in seen:
            repeated.append(place)
        seen.add(key)
    return repeated


def _box(result: Result) -> list[float]:
    """The detection's own box, or that around its mask."""
    if "bbox" in result:
        return result["bbox"]
    return list(segmentation.bounding_box(result["segmentation"]))
