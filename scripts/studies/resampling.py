"""The average precisions of a run on bootstrap samples of the test images, computed once and kept by its figures."""

import json
from pathlib import Path

import numpy as np

from amodal_jax.evaluation.annotated import AnnotatedImages
from amodal_jax.evaluation.metrics import KINDS, run_coco_eval
from amodal_jax.evaluation.resampled_precision import ResampledPrecision
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.files.atomic import write_atomically
from amodal_jax.files.text import read_text
from scripts.studies.intervals import draw_counts

FILE = "resampled.json"


def resampled_precisions(evaluation: Path, truth: AnnotatedImages, samples: int) -> dict[str, np.ndarray]:
    """AP on each sample [samples], by its name in metrics.json, of every kind that the run gives.

    Sample i has the same images for every run, so that the samples of two runs can be taken from each other.

    Args:
      evaluation: the folder of a run's evaluation, with its result files.
      truth: the ground truth of its test split.
      samples: how many to draw.

    Raises:
      DataError: a result file is damaged.
    """
    kept, metrics = evaluation / FILE, evaluation / "metrics.json"
    if kept.is_file() and kept.stat().st_mtime >= metrics.stat().st_mtime:
        found = json.loads(read_text(kept))
        if found["samples"] == samples:
            return {name: np.array(values, float) for name, values in found["values"].items()}
    masks = {kind: evaluation / f"detections_{kind}.json" for kind in KINDS if kind != "det"}
    masks = {kind: path for kind, path in masks.items() if path.is_file()}
    boxes = next(iter(masks.values()), evaluation / "detections.json")
    results = read_results({"det": boxes, **masks}, truth, progress=False)
    values = {}
    for kind, of_kind in results.items():
        precision = ResampledPrecision(run_coco_eval(truth, of_kind, kind))
        values[f"{kind}/AP"] = precision(draw_counts(len(precision.image_ids), samples))
    rounded = {name: [round(float(value), 6) for value in of_kind] for name, of_kind in values.items()}
    write_atomically(kept, json.dumps({"samples": samples, "values": rounded}))
    return values
