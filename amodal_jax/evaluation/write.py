"""What an evaluation writes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from amodal_jax.config import EvaluationConfig
from amodal_jax.evaluation.detect import Results
from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.models.selection import COCO_DETECTIONS_PER_CLASS


def images_without_room(results: Results, settings: EvaluationConfig, class_count: int) -> int:
    """The number of images in which something that COCOeval would count may have been cut off.

    They have as many detections, in all or of a class, as there may be, and that is less than COCOeval's limit.
    """
    of_class = Counter((one["image_id"], one["category_id"]) for one in results["det"])
    of_image = Counter(one["image_id"] for one in results["det"])
    full: set[int] = set()
    if settings.max_detections < class_count * COCO_DETECTIONS_PER_CLASS:
        full |= {image for image, count in of_image.items() if count >= settings.max_detections}
    if settings.max_detections_per_class < COCO_DETECTIONS_PER_CLASS:
        full |= {image for (image, _), count in of_class.items() if count >= settings.max_detections_per_class}
    return len(full)


def write_results(
    output_dir: Path, results: Results, metrics: dict[str, float], measured: dict[str, Any] | None = None
) -> None:
    """Writes `metrics.json`, and `detections_amodal.json` and `detections_inmodal.json` in COCO's results format.

    The figures come after what they are of (`measured`): the checkpoint, the dataset and the evaluation's settings.

    Each entry has `image_id`, `category_id` (of the annotation file), `bbox` (xywh, amodal), `score`,
    `segmentation` and, with an occlusion branch, `occluded`. A network without any mask branch gets
    `detections.json` with its boxes. No file is ever there in part, and `metrics.json` comes last.

    Stock COCOeval takes a detection's area from `bbox` where it is there: for the mask figures of small, medium and
    large objects as `metrics.json` has them, leave `bbox` out on loading.
    """
    make_folder(output_dir)
    files = {"det": "detections.json"} if set(results) == {"det"} else {}
    files |= {kind: f"detections_{kind}.json" for kind in results if kind != "det"}
    for kind, name in files.items():
        write_atomically(output_dir / name, json.dumps(results[kind]))
    write_metrics(output_dir, metrics, measured or {})


def write_metrics(output_dir: Path, metrics: dict[str, float], measured: dict[str, Any]) -> None:
    """Writes `metrics.json`: what the figures are of, then the figures."""
    write_atomically(output_dir / "metrics.json", json.dumps(measured | metrics, indent=2) + "\n")
