"""From a network, or result files of any tool, and a built dataset to the paper's figures; COCO result files.

Shape shorthand: B images of this process's batch, D detection slots, M mask cells a side.
"""

import dataclasses
import functools
import itertools
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.canvas import check_input_canvas
from amodal_jax.cli.cores import usable_cores
from amodal_jax.cli.progress import progress_bar
from amodal_jax.config import Config
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.evaluation.metrics import (
    AnnotatedImages,
    AnnotatedInstance,
    Result,
    evaluate_results,
    format_table,
)
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.masks.paste import encode_masks
from amodal_jax.network import Network, Variables
from amodal_jax.structures import Batch, Detections

Results = dict[str, list[Result]]
"""By kind: "det", and "amodal" and "inmodal" where the network has the branch."""


class EvaluationStopped(Exception):
    """An evaluation was stopped on request, and has no result."""


_MOST_ENCODING = 256  # images whose masks wait for the threads: about 160 MB


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

    The images are split over all devices of all processes; every process has to call this, gets the same figures back,
    and only the first one writes and prints.

    Args:
      network: the network of `config`.
      variables: its parameters, on the host or on this process's devices.
      config: its `data` and `evaluation` sections are read, and of the model the class names and the occlusion
        threshold.
      output_dir: where `metrics.json` and the result files go (see `write_results`); None: nowhere.
      truth: what `read_truth` gives, where it has been read already.
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

    truth = read_truth(config) if truth is None else truth
    check_input_canvas(truth.image_sizes.items(), config.model.input)
    first = jax.process_index() == 0
    if first and output_dir is not None:
        make_folder(output_dir)
    process_count, local_devices = jax.process_count(), jax.local_devices()
    per_device = -(-config.evaluation.batch_size // (len(local_devices) * process_count))
    batches = evaluation_batches(
        config,
        batch_size=per_device * len(local_devices),
        process_index=jax.process_index(),
        process_count=process_count,
    )
    with progress_bar(
        total=len(truth.image_sizes), description="evaluate", unit="image", shown=progress and first
    ) as bar:
        # The bar counts this process's images for all, as the processes keep step; the last batch is not always full.
        results, image_ids = detect_all(
            network,
            variables,
            config,
            itertools.takewhile(lambda _: not stop_requested(), batches),
            tuple(truth.categories),
            lambda images: bar.update(min(images * process_count, bar.total - bar.n)),
        )
    if multihost_utils.process_allgather(np.int32(stop_requested())).any():
        raise EvaluationStopped
    results, image_ids = _gather(results, image_ids)
    if sorted(image_ids) != sorted(truth.image_sizes):
        raise DataError(
            f"{config.data.directory}, split {config.data.test_split}: {len(image_ids)} images were evaluated of "
            f"{len(truth.image_sizes)}; the dataset has changed, or two of its images have one id"
        )
    metrics = evaluate_results(truth, results, config.model.occlusion.threshold)
    if first and output_dir is not None:
        measured = {
            "checkpoint": checkpoint,
            "dataset": _dataset(config),
            "evaluation": dataclasses.asdict(config.evaluation),
        }
        write_results(output_dir, results, metrics, measured)
    if first and progress:
        print(format_table(metrics), flush=True)
        full = images_without_room(results, config.evaluation.max_detections)
        if full:
            print(
                f"note: {full} of {len(image_ids)} images have all {config.evaluation.max_detections} detections that "
                "evaluation.max_detections allows; COCOeval would count up to 100 of each class",
                file=sys.stderr,
            )
    return metrics


def evaluate_files(
    files: dict[str, Path], config: Config, output_dir: Path | None, *, progress: bool = True
) -> dict[str, float]:
    """Scores result files of any tool as `evaluate_network` scores what a network finds.

    Args:
      files: by kind, as `results_files.read_results` takes them.
      config: its `data` section is read, and of the model the occlusion threshold and the class names, which may be
        empty.
      output_dir: where `metrics.json` goes, with what the figures are of before them; None: nowhere.
      progress: show progress bars, and the table of figures at the end.

    Returns:
      The figures of `metrics.evaluate_results`.

    Raises:
      DataError: the dataset is missing, damaged or empty, or a result cannot be scored.
      ConfigError: the dataset has other classes than `config` names.
    """
    truth = read_truth(config)
    results = read_results(files, truth, progress=progress)
    if output_dir is not None:
        make_folder(output_dir)
    metrics = evaluate_results(truth, results, config.model.occlusion.threshold)
    if output_dir is not None:
        measured = {
            "results": {kind: str(path.absolute()) for kind, path in files.items()},
            "dataset": _dataset(config),
            "occlusion_threshold": config.model.occlusion.threshold,
        }
        _write_metrics(output_dir, metrics, measured)
    if progress:
        print(format_table(metrics), flush=True)
    return metrics


def check_dataset(config: Config) -> None:
    """Finds out at little cost whether `evaluate_network` can begin.

    Raises:
      DataError: the dataset is missing or empty, or known to hold what a batch has no room for.
      ConfigError: the dataset has other classes than the network.
    """
    from amodal_jax.input_pipeline.batches import check_split

    _categories(config)
    check_split(config, config.data.test_split)


def read_truth(config: Config) -> AnnotatedImages:
    """The ground truth of the test split, with the category ids of the files that the dataset was built from.

    Args:
      config: its `data` section is read, and the model's class names; without any, the dataset's are taken.

    Raises:
      DataError: the dataset is missing, damaged or empty.
      ConfigError: the dataset has other classes than the network.
    """
    from amodal_jax.input_pipeline.records import evaluation_records

    categories = _categories(config)
    ids = tuple(categories)
    image_sizes: dict[int, tuple[int, int]] = {}
    file_names: dict[int, str] = {}
    instances = []
    for record in evaluation_records(config, with_pixels=False):
        image_id = int(record["image/id"])
        size = (int(record["image/height"]), int(record["image/width"]))
        if image_id in image_sizes:
            raise DataError(
                f"{config.data.directory}, split {config.data.test_split}: two images have the id {image_id}"
            )
        image_sizes[image_id] = size
        file_names[image_id] = record["image/filename"].decode()
        objects = record["objects"]
        for index, label in enumerate(objects["label"]):
            x1, y1, x2, y2 = map(float, objects["amodal_bbox"][index])
            instances.append(
                AnnotatedInstance(
                    image_id=image_id,
                    category_id=ids[label],
                    box=(x1, y1, x2 - x1, y2 - y1),
                    amodal_rle={"size": list(size), "counts": objects["amodal_rle"][index].decode("ascii")},
                    inmodal_rle={"size": list(size), "counts": objects["inmodal_rle"][index].decode("ascii")},
                    occlusion_ratio=float(objects["occlusion_ratio"][index]),
                    is_crowd=bool(objects["is_crowd"][index]),
                )
            )
    return AnnotatedImages(image_sizes, categories, instances, file_names)


def _categories(config: Config) -> dict[int, str]:
    """The dataset's classes by category id, which have to be the network's, if that has any."""
    from amodal_jax.input_pipeline.records import dataset_categories

    class_names = config.model.class_names
    categories = dataset_categories(config)
    if class_names and tuple(categories.values()) != class_names:
        raise ConfigError(
            f"the network has the classes {', '.join(class_names)}, but the dataset at {config.data.directory} has "
            f"{', '.join(categories.values())}; name another dataset in data.directory"
        )
    return categories


def detect_all(
    network: Network,
    variables: Variables,
    config: Config,
    batches: Iterable[Batch],
    ids: tuple[int, ...],
    count_images: Callable[[int], Any] = lambda images: None,
) -> tuple[Results, list[int]]:
    """What the network finds in batches of images, each split over this process's devices.

    While the devices work on one batch, threads turn the masks of those before into run lengths.

    Args:
      network: the network.
      variables: its parameters.
      config: `evaluation.mask_threshold` is read.
      batches: their size is a multiple of the number of this process's devices; images that are not `valid` are
        skipped.
      ids: the category id of each label.
      count_images: called with the number of images of each batch when it is done.

    Returns:
      The results, and the ids of the images, both in the order of the images.
    """
    devices = tuple(jax.local_devices())
    variables = jax.device_put(variables, NamedSharding(Mesh(np.array(devices), "batch"), PartitionSpec()))
    detect = _parallel_detect(network, devices)
    results: Results = {kind: [] for kind in ("det", *network.mask_kinds)}
    image_ids: list[int] = []
    pending: deque[tuple[Batch, Detections]] = deque()
    encoding: deque[Future[Results]] = deque()

    def collect(batch: Batch, detections: Detections) -> None:
        host = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(detections))
        for index in np.flatnonzero(batch.valid):
            one = jax.tree.map(lambda x, index=index: x[index], host)
            size = (int(batch.sizes[index, 0]), int(batch.sizes[index, 1]))
            image_id = int(batch.image_ids[index])
            image_ids.append(image_id)
            threshold = config.evaluation.mask_threshold
            encoding.append(pool.submit(image_results, one, image_id, size, ids, threshold))
        while len(encoding) > _MOST_ENCODING:
            add(encoding.popleft().result())
        count_images(int(np.sum(batch.valid)))

    def add(one_image: Results) -> None:
        for kind, found in one_image.items():
            results[kind] += found

    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        for batch in batches:
            images, sizes = (x.reshape(len(devices), -1, *x.shape[1:]) for x in (batch.images, batch.sizes))
            pending.append((batch, detect(variables, images, sizes)))
            if len(pending) > 1:
                collect(*pending.popleft())
        while pending:
            collect(*pending.popleft())
        while encoding:
            add(encoding.popleft().result())
    return results, image_ids


def image_results(
    detections: Detections, image_id: int, image_size: tuple[int, int], ids: tuple[int, ...], mask_threshold: float
) -> Results:
    """One image's detections (no batch axis, on the host) in COCO's results format, by kind.

    Args:
      detections: boxes [D, 4] in pixels of the image, masks [D, M, M].
      image_id: goes into the results.
      image_size: (height, width).
      ids: the category id of each label.
      mask_threshold: what is above it belongs to the mask.
    """
    slots = np.flatnonzero(detections.valid)
    boxes = np.asarray(detections.boxes)[slots]
    found = []
    for slot, (x1, y1, x2, y2) in zip(slots, boxes.tolist(), strict=True):
        found.append(
            {
                "image_id": image_id,
                "category_id": ids[detections.labels[slot]],
                "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": float(detections.scores[slot]),
            }
        )
        if detections.occluded is not None:
            found[-1]["occluded"] = float(detections.occluded[slot])
    results = {"det": found}
    for kind, masks in (("amodal", detections.amodal_masks), ("inmodal", detections.inmodal_masks)):
        if masks is not None:
            rles = encode_masks(np.asarray(masks)[slots], boxes, image_size, mask_threshold)
            results[kind] = [one | {"segmentation": rle} for one, rle in zip(found, rles, strict=True)]
    return results


def images_without_room(results: Results, max_detections: int) -> int:
    """The number of images with as many detections as there may be, so that more may have been cut off."""
    return sum(count >= max_detections for count in Counter(one["image_id"] for one in results["det"]).values())


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
    _write_metrics(output_dir, metrics, measured or {})


def _write_metrics(output_dir: Path, metrics: dict[str, float], measured: dict[str, Any]) -> None:
    write_atomically(output_dir / "metrics.json", json.dumps(measured | metrics, indent=2) + "\n")


def _dataset(config: Config) -> dict[str, str]:
    """What figures say of the dataset that they are of."""
    return {"directory": config.data.directory, "split": config.data.test_split}


@functools.lru_cache(maxsize=2)  # so that evaluations during training compile once
def _parallel_detect(network: Network, devices: tuple[jax.Device, ...]) -> Callable[..., Detections]:
    """`detect` with a leading device axis on images, sizes and detections.

    Naming this process's devices keeps it to itself: processes need not be in step.
    """
    return jax.pmap(functools.partial(network.apply, method="detect"), in_axes=(None, 0, 0), devices=devices)


def _gather(results: Results, image_ids: list[int]) -> tuple[Results, list[int]]:
    """The results and image ids of all processes, on every process, by image id: the same however they were split."""
    parts = [(results, image_ids)]
    if jax.process_count() > 1:
        text = np.frombuffer(json.dumps(parts[0]).encode(), np.uint8)
        lengths = multihost_utils.process_allgather(np.array([len(text)])).reshape(-1)
        texts = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
        parts = [json.loads(row[:length].tobytes()) for row, length in zip(texts, lengths, strict=True)]
    gathered = {
        kind: sorted((one for part, _ in parts for one in part[kind]), key=lambda one: one["image_id"])
        for kind in results
    }
    return gathered, [image_id for _, part in parts for image_id in part]
