"""An evaluation, whole and its parts: the truth, the network with mask output, mask output alone, COCOeval."""

import dataclasses
import itertools
import tempfile
from pathlib import Path

import jax
import numpy as np

from amodal_jax.evaluate import evaluate_network
from amodal_jax.evaluation.detect import detect_images, image_results, join_results
from amodal_jax.evaluation.metrics import evaluate_results
from amodal_jax.evaluation.truth import read_truth
from amodal_jax.input_pipeline.batches import evaluation_batches
from amodal_jax.input_pipeline.records import dataset_categories
from amodal_jax.network import build_network
from amodal_jax.runs.checkpoint_reader import load_checkpoint
from amodal_jax.structures import Detections
from scripts.benchmarks.measurement import Report, once
from scripts.benchmarks.network import random_variables
from scripts.benchmarks.options import Options
from scripts.benchmarks.records import build_records


def measure(options: Options) -> Report:
    """Evaluates `images` images once in parts and once whole."""
    if options.checkpoint:
        config, variables, _ = load_checkpoint(options.checkpoint)
    else:
        config = options.config
        variables = random_variables(config)
    detector = build_network(config)
    with tempfile.TemporaryDirectory() as folder:
        directory, _ = build_records(
            Path(folder),
            train=1,
            test=options.images,
            height=min(config.data.canvas_height, 375),
            width=min(config.data.canvas_width, 1242),
            image_folder=options.image_folder,
        )
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=directory))
        batch_size = -(-config.evaluation.batch_size // jax.local_device_count()) * jax.local_device_count()

        def batches():
            return evaluation_batches(config, batch_size=batch_size)

        report = Report()

        def part(name, function):
            measurement, result = once(name, function, count=options.images, unit="image")
            report.measurements.append(measurement)
            return result

        ids = tuple(dataset_categories(config))

        def detect(some):
            return join_results(detect_images(detector, variables, config, some, ids))

        part("first batch, with compilation", lambda: detect(itertools.islice(batches(), 1)))
        report.measurements[-1].count = 1
        truth = part("reading the truth", lambda: read_truth(config))
        results, _ = part("network and mask output", lambda: detect(batches()))
        part("mask output alone, one thread", lambda: _mask_output(results, truth.image_sizes, config))
        part("COCOeval", lambda: evaluate_results(truth, results))
        part(
            "whole evaluation",
            lambda: evaluate_network(detector, variables, config, Path(folder) / "out", progress=False),
        )
    report.facts |= {f"{one.name}, s": float(np.sum(one.seconds)) for one in report.measurements}
    report.facts |= {
        "images": options.images,
        "detections": len(results["det"]),
        "instances": len(truth.instances),
    }
    return report


def _mask_output(results, sizes, config) -> None:
    """As many masks of the same boxes as the evaluation encoded."""
    cells = 2 * config.model.roi.mask_size
    y, x = np.meshgrid(*[np.linspace(-1, 1, cells, dtype=np.float32)] * 2)
    by_image = itertools.groupby(results["det"], key=lambda one: one["image_id"])
    for image_id, found in by_image:
        corners = np.array([one["bbox"] for one in found], np.float32)
        corners[:, 2:] += corners[:, :2]
        count = len(corners)
        masks = np.broadcast_to(1 / (1 + np.exp(8 * (np.hypot(x, y) - 0.9))), (count, cells, cells))
        detections = Detections(
            boxes=corners,
            scores=np.ones(count, np.float32),
            labels=np.zeros(count, np.int32),
            valid=np.ones(count, bool),
            occluded=None,
            amodal_masks=masks if "amodal" in results else None,
            inmodal_masks=masks if "inmodal" in results else None,
        )
        image_results(detections, image_id, sizes[image_id], (1,), config.evaluation)
