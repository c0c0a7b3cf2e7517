"""From a network, or result files of any tool, and a built dataset to the paper's figures; COCO result files."""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from amodal_jax.cli.progress import progress_bar
from amodal_jax.config import Config
from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages
from amodal_jax.evaluation.detect import ImageResults, Results, detect_images, join_results
from amodal_jax.evaluation.metrics import evaluate_results, format_table
from amodal_jax.evaluation.occlusion_tables import occlusion_lines
from amodal_jax.evaluation.results_completeness import check_completeness
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.evaluation.truth import read_categories, read_fitting_truth, read_truth
from amodal_jax.evaluation.write import images_without_room, write_metrics, write_results
from amodal_jax.files.atomic import make_folder
from amodal_jax.models.selection import COCO_DETECTIONS_PER_CLASS
from amodal_jax.network import Network, Variables
from amodal_jax.occlusion import OCCLUSION_THRESHOLD
from amodal_jax.parallel.processes import (
    any_process,
    from_first_process,
    gather_on_first_process,
    is_first_process,
    on_first_process,
)

_BATCHES_A_ROUND = 8  # after which the first process gets what the others have found


class EvaluationStopped(Exception):
    """An evaluation was stopped on request, and has no result."""


def evaluate_network(
    network: Network,
    variables: Variables,
    config: Config,
    output_dir: Path | None,
    *,
    truth: AnnotatedImages | None = None,
    checkpoint: dict[str, Any] | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
    progress: bool = True,
) -> dict[str, float]:
    """Runs the network over the test split and scores what it finds.

    The images are split over all devices of all processes. Every process has to call this and gets the same figures
    back; only the first one has the ground truth, keeps the detections, scores, writes and prints them.

    Args:
      network: the network of `config`.
      variables: its parameters, on the host or on this process's devices.
      config: its `data` and `evaluation` sections are read, and of the model the input and the class names.
      output_dir: where `metrics.json` and the result files go (see `write_results`); None: nowhere.
      truth: what `read_fitting_truth` gives, where the first process has read it already.
      checkpoint: what `metrics.json` is to say of where the variables come from.
      stop_requested: asked before each batch whether this process is to end.
      progress: show a progress bar, and the table of figures at the end.

    Returns:
      The figures of `metrics.evaluate_results`.

    Raises:
      DataError: the dataset is missing, damaged or empty, or an image does not fit the network's input canvas.
      ConfigError: the dataset has other classes than the network.
      EvaluationStopped: a stop was requested, of any process. Every process raises it.
    """
    # TensorFlow is imported only where a dataset is read: training may do without it.
    from amodal_jax.input_pipeline.batches import evaluation_batches

    def prepare() -> AnnotatedImages:
        images = read_fitting_truth(config) if truth is None else truth
        if output_dir is not None:
            make_folder(output_dir)
        return images

    # The memory of the processes that have no truth does not grow with the split.
    expected = on_first_process(prepare)
    first = is_first_process()
    process_count, local_devices = jax.process_count(), jax.local_devices()
    per_device = -(-config.evaluation.batch_size // (len(local_devices) * process_count))
    batches = evaluation_batches(
        config,
        batch_size=per_device * len(local_devices),
        process_index=jax.process_index(),
        process_count=process_count,
    )
    total = 0 if expected is None else len(expected.image_sizes)
    with progress_bar(total=total, description="evaluate", unit="image", shown=progress and first) as bar:
        # The bar counts this process's images for all, as the processes keep step; the last batch is not always full.
        found = detect_images(
            network,
            variables,
            config,
            itertools.takewhile(lambda _: not stop_requested(), batches),
            tuple(read_categories(config)),
            lambda images: bar.update(min(images * process_count, bar.total - bar.n)),
        )
        results, image_ids = join_results(_gathered(found, stop_requested))

    def score() -> dict[str, float]:
        assert expected is not None
        measured = {"checkpoint": checkpoint} | _settings(config, OCCLUSION_THRESHOLD)
        return _score_found(expected, results, image_ids, config, output_dir, measured, progress)

    return from_first_process(score)


def _gathered(found: Iterator[list[ImageResults]], stop_requested: Callable[[], bool]) -> Iterator[list[ImageResults]]:
    """What all processes find, a few batches at a time, on the first process; nothing on the others.

    Raises:
      EvaluationStopped: a stop was requested, of any process.
    """

    def gather(images: list[ImageResults]) -> list[ImageResults]:
        if any_process(stop_requested()):
            raise EvaluationStopped
        return gather_on_first_process(images)

    waiting: list[ImageResults] = []
    for number, images in enumerate(found, start=1):
        waiting += images
        if number % _BATCHES_A_ROUND == 0:
            yield gather(waiting)
            waiting = []
    yield gather(waiting)


def _score_found(
    truth: AnnotatedImages,
    results: Results,
    image_ids: list[int],
    config: Config,
    output_dir: Path | None,
    measured: dict[str, Any],
    progress: bool,
) -> dict[str, float]:
    """Scores what was found in all images, writes it and prints the figures."""
    if sorted(image_ids) != sorted(truth.image_sizes):
        raise DataError(
            f"{config.data.directory}, split {config.data.test_split}: {len(image_ids)} images were evaluated of "
            f"{len(truth.image_sizes)}; the dataset has changed, or two of its images have one id"
        )
    # The same however the images were split over processes.
    results = {kind: sorted(of_kind, key=lambda one: one["image_id"]) for kind, of_kind in results.items()}
    metrics = evaluate_results(truth, results)
    full = images_without_room(results, config.evaluation, len(truth.categories))
    if output_dir is not None:
        settings = {"evaluation": dataclasses.asdict(config.evaluation), "images_without_room": full}
        write_results(output_dir, results, metrics, measured | settings)
    if progress:
        if full:
            print(
                f"note: {full} of {len(image_ids)} images have as many detections as evaluation.max_detections "
                f"({config.evaluation.max_detections}) or evaluation.max_detections_per_class "
                f"({config.evaluation.max_detections_per_class}) allows; COCOeval would count up to "
                f"{COCO_DETECTIONS_PER_CLASS} of each class",
                file=sys.stderr,
            )
        print(format_table(metrics), *occlusion_lines(metrics), sep="\n", flush=True)
    return metrics


def evaluate_files(
    files: dict[str, Path],
    config: Config,
    output_dir: Path | None,
    *,
    strict: bool = False,
    progress: bool = True,
) -> dict[str, float]:
    """Scores result files of any tool as `evaluate_network` scores what a network finds.

    Args:
      files: by kind, as `results_files.read_results` takes them.
      config: its `data` section is read, and of the model the occlusion threshold and the class names, which may be
        empty.
      output_dir: where `metrics.json` goes, with what the figures are of before them; None: nowhere.
      strict: refuse files that hold a detection twice, or none in an image with instances, instead of warning of them.
      progress: show progress bars, and the table of figures at the end.

    Returns:
      The figures of `metrics.evaluate_results`.

    Raises:
      DataError: the dataset is missing, damaged or empty, a result cannot be scored, or what `strict` refuses.
      ConfigError: the dataset has other classes than `config` names.
    """
    truth = read_truth(config)
    results = read_results(files, truth, progress=progress)
    counts = check_completeness(files, results, truth, strict=strict)
    if output_dir is not None:
        make_folder(output_dir)
    metrics = evaluate_results(truth, results, config.model.occlusion.threshold)
    if output_dir is not None:
        measured = {
            "results": {kind: str(path.absolute()) for kind, path in files.items()},
            **_settings(config, config.model.occlusion.threshold),
            **counts,
        }
        write_metrics(output_dir, metrics, measured)
    if progress:
        print(format_table(metrics), *occlusion_lines(metrics), sep="\n", flush=True)
    return metrics


def _settings(config: Config, occlusion_threshold: float) -> dict[str, Any]:
    """What figures say of the ground truth that they are of."""
    dataset = {"directory": config.data.directory, "split": config.data.test_split}
    return {"dataset": dataset, "occlusion_threshold": occlusion_threshold}
