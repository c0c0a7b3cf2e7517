"""One self-contained html page about a training run: its figures, its curves, and what it finds in test images.

The page loads nothing: styles, script, images and masks are all within it, and its content security policy forbids any
request. Whatever comes from data is escaped.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from amodal_jax.config import Config
from amodal_jax.config_json import field_lines
from amodal_jax.errors import AmodalJaxError, ConfigError, DataError, ImageError
from amodal_jax.evaluation.metrics import KINDS, OCCLUSION_LEVELS, SUMMARY
from amodal_jax.evaluation.occlusion_tables import occlusion_tables
from amodal_jax.files.atomic import write_atomically
from amodal_jax.files.text import read_text
from amodal_jax.network import build_network
from amodal_jax.occlusion import is_occluded
from amodal_jax.runs.directory import CONFIG_FILE, read_config
from amodal_jax.runs.metrics_log import Series, read_metrics_log
from amodal_jax.visualization.charts import LINE_COLOURS, line_chart
from amodal_jax.visualization.colours import PALETTE
from amodal_jax.visualization.gallery import GalleryObject, Picture, gallery_card
from amodal_jax.visualization.pages import render

_IMAGE_BYTES = 8_000_000  # of all JPEGs together; base64 makes a third more of it
_MOST_OBJECTS = 60  # detections of an image on the page, the best ones
# What else is logged of a step beside its losses.
_NO_TERMS = ("gradient_norm", "learning_rate", "short_side", "images_per_second")
_COUNTS = ("images", "detections", "occlusion_matches", "occlusion_from_masks", "iou_matches")  # of an evaluation
_PRECISION = re.compile(rf"(?:^|/)({'|'.join(KINDS)})/(AP|AP50)$")
# What the figures are of.
_MEASURED = ("checkpoint", "results", "dataset", "evaluation", "repeated_detections", "images_without_detections")
_RESULT_FIELDS = {"image_id", "category_id", "bbox", "score"}


@dataclasses.dataclass(frozen=True)
class _Table:
    """Shares, shown in per cent."""

    caption: str
    columns: list[str]
    rows: dict[str, list[float | None]]


@dataclasses.dataclass(frozen=True)
class _Results:
    """The figures of an evaluation."""

    measured: str
    """What they are of; empty where the evaluation does not say it."""
    facts: list[tuple[str, str]]
    """Values, and what each is."""
    tables: list[_Table]


@dataclasses.dataclass(frozen=True)
class _Gallery:
    """The cards of some images of a split, or why there are none."""

    split: str
    missing: str = ""
    split_size: int = 0
    predicted: bool = False
    most_objects: int = _MOST_OBJECTS
    cards: list[Markup] = dataclasses.field(default_factory=list)


def write_report(run_dir: Path, output: Path | None = None, *, images: int = 24) -> Path:
    """Writes the page of a run directory.

    What the run does not have yet (losses, an evaluation) and a gallery whose dataset cannot be read are said to be
    missing where they would stand.

    Args:
      run_dir: as training writes it: `config.json`, `metrics.jsonl`, and `evaluation/` as `evaluate.write_results`
        writes it. The gallery's images and ground truth are read from the dataset that the configuration names.
      output: the page; None: `report.html` in the run directory.
      images: the most images in the gallery, evenly spaced over the test split.

    Returns:
      Where the page is.

    Raises:
      ConfigError: no such run, or its configuration cannot be read.
      DataError: a file of the run is damaged; names it.
    """
    config = read_config(run_dir)
    if config is None:
        raise ConfigError(f"{run_dir}: no run directory (it has no {CONFIG_FILE}); name the --workdir of a training")
    output = run_dir / "report.html" if output is None else output
    metrics = _read_metrics(run_dir / "evaluation" / "metrics.json")
    page = render(
        "report.html",
        title=f"{run_dir.resolve().name}: {config.name}",
        run=run_dir.resolve().name,
        config_name=config.name,
        palette=PALETTE.tolist(),
        line_colours=LINE_COLOURS,
        summary=_summary(config),
        fields="\n".join(line.removeprefix("--") for line in field_lines(config)),
        results=None if metrics is None else _results(metrics, config),
        charts=_charts(read_metrics_log(run_dir / "metrics.jsonl")),
        gallery=_gallery(config, run_dir / "evaluation", images),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, page)
    return output


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}); evaluate the run again") from error


def _read_metrics(path: Path) -> dict[str, Any] | None:
    metrics = _read_json(path)
    if metrics is not None and not (
        isinstance(metrics, dict)
        and all(isinstance(value, dict | None if name in _MEASURED else int | float) for name, value in metrics.items())
    ):
        raise DataError(f"{path}: holds no figures by name; evaluate the run again")
    return metrics


def _read_results(path: Path) -> list[dict[str, Any]] | None:
    results = _read_json(path)
    if results is not None and not (
        isinstance(results, list)
        and all(isinstance(result, dict) and result.keys() >= _RESULT_FIELDS for result in results)
    ):
        raise DataError(
            f"{path}: is no list of results with {', '.join(sorted(_RESULT_FIELDS))}; evaluate the run again"
        )
    return results


def _summary(config: Config) -> dict[str, str]:
    """The few fields that tell one experiment from another."""
    model, train = config.model, config.train
    drawn = f" (in training {', '.join(map(str, train.short_sides))})" if train.short_sides else ""
    return {
        "Network": build_network(config).summary,
        "Input": f"short side {model.input.short_side}{drawn}, long side at most {model.input.long_side} pixels",
        "Training": f"{train.steps:,} steps of {train.batch_size} images, {train.optimizer}, "
        f"learning rate {train.learning_rate:g} ({train.schedule}), seed {train.seed}",
        "Precision": model.compute_dtype,
        "Classes": ", ".join(model.class_names) or "those of the dataset",
        "Dataset": config.data.directory,
    }


def _results(metrics: dict[str, Any], config: Config) -> _Results:
    kinds = {kind: title for kind, title in KINDS.items() if any(f"{kind}/{name}" in metrics for name in SUMMARY)}
    tables = [
        _Table(
            "Average precision, %",
            list(SUMMARY),
            {title: [metrics.get(f"{kind}/{name}") for name in SUMMARY] for kind, title in kinds.items()},
        )
    ]
    facts = [
        (f"{metrics['images']:,.0f}", "images evaluated") if "images" in metrics else None,
        (f"{metrics['detections']:,.0f}", "detections") if "detections" in metrics else None,
        (
            f"{100 * metrics['occlusion_accuracy']:.1f} %",
            "occlusion accuracy"
            + (
                f" of {metrics['occlusion_matches']:,.0f} that match an object"
                if "occlusion_matches" in metrics
                else ""
            )
            + (", by their two masks" if "occlusion_from_masks" in metrics else ""),
        )
        if "occlusion_accuracy" in metrics
        else None,
    ]
    levels = {
        KINDS[kind]: [metrics.get(f"{kind}/AR/{level}") for level in OCCLUSION_LEVELS]
        for kind in kinds
        if any(f"{kind}/AR/{level}" in metrics for level in OCCLUSION_LEVELS)
    }
    if levels:
        columns = [
            f"up to {high:.0%}" if low < 0 else f"{low:.0%} to {high:.0%}" for low, high in OCCLUSION_LEVELS.values()
        ]
        tables.append(_Table("Recall by the share that is hidden, %", columns, levels))
    tables += [_Table(*table) for table in occlusion_tables(metrics)]
    prefixes = {kind: f"{kind}/AP/" for kind in kinds}
    classes = sorted(
        {name.removeprefix(prefix) for prefix in prefixes.values() for name in metrics if name.startswith(prefix)},
        key=lambda name: config.model.class_names.index(name) if name in config.model.class_names else -1,
    )
    if classes:
        by_class = {name: [metrics.get(prefix + name) for prefix in prefixes.values()] for name in classes}
        tables.append(_Table("AP by class, %", list(kinds.values()), by_class))
    return _Results(_measured(metrics), list(filter(None, facts)), tables)


def _measured(metrics: dict[str, Any]) -> str:
    """What the figures are of, where the evaluation says it."""
    checkpoint, dataset = metrics.get("checkpoint"), metrics.get("dataset")
    if not checkpoint or not dataset:
        return ""
    return f"Checkpoint of step {checkpoint['step']:,}, split “{dataset['split']}” of {dataset['directory']}."


def _charts(series: dict[str, Series]) -> list[Markup]:
    series = {name: values for name, values in series.items() if any(map(np.isfinite, values.values()))}
    remaining = dict(series)
    charts = []
    losses = remaining.pop("loss", {})
    if losses:
        charts.append(line_chart("Loss", {"loss": losses}))
    of_steps = [name for name, values in remaining.items() if values.keys() == losses.keys()]
    terms = {name.replace("_", " "): remaining.pop(name) for name in of_steps if name not in _NO_TERMS}
    if terms:
        charts.append(line_chart("Loss terms", terms))
    precisions = {}
    for name in list(remaining):
        match = _PRECISION.search(name)
        if match:
            values = remaining.pop(name)
            precisions[f"{KINDS[match[1]]} {match[2]}"] = {step: 100 * value for step, value in values.items()}
    if precisions:
        charts.append(line_chart("Average precision on the test split, %", precisions))
    if "occlusion_accuracy" in remaining:
        values = remaining.pop("occlusion_accuracy")
        percent = {step: 100 * value for step, value in values.items()}
        charts.append(line_chart("Occlusion accuracy on the test split, %", {"occlusion accuracy": percent}))
    # What else an evaluation logs, by class and by level, stands in the tables; what else the training logs is a curve.
    charts += [
        line_chart(name.replace("_", " ").capitalize(), {name.replace("_", " "): values})
        for name, values in remaining.items()
        if "/" not in name and name not in _COUNTS and len(values) > 1
    ]
    return charts


def _gallery(config: Config, evaluation_dir: Path, count: int) -> _Gallery:
    split = config.data.test_split
    try:
        categories, records, size = _chosen_records(config, count)
    except (AmodalJaxError, ImportError) as error:
        return _Gallery(split, missing=str(error))
    ids = [int(record["image/id"]) for record in records]
    detections = _detections(evaluation_dir, categories, set(ids))
    cards = []
    for number, record in enumerate(records):
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise ImageError(f"{config.data.directory}: image {ids[number]} cannot be decoded; build the dataset again")
        picture = Picture(
            name=record["image/filename"].decode("utf-8", "replace"),
            image=image,
            truth=_truth(record, config, image.shape[:2]),
            predicted=None if detections is None else detections[ids[number]],
        )
        cards.append(gallery_card(number, picture, largest_image=_IMAGE_BYTES // len(records)))
    return _Gallery(split, split_size=size, predicted=detections is not None, cards=cards)


def _chosen_records(config: Config, count: int) -> tuple[dict[int, str], list[dict[str, Any]], int]:
    """The dataset's classes by category id, evenly spaced records of the test split, and the number of all."""
    # TensorFlow is imported only where a dataset is read.
    from amodal_jax.input_pipeline.records import dataset_categories, evaluation_records, split_size

    categories = dataset_categories(config)
    if tuple(categories.values()) != config.model.class_names:
        raise ConfigError(
            f"the run has the classes {', '.join(config.model.class_names)}, but the dataset at "
            f"{config.data.directory} has {', '.join(categories.values())} now"
        )
    size = split_size(config, config.data.test_split)
    chosen = np.linspace(0, size - 1, min(count, size)).round().astype(int).tolist()
    return categories, list(evaluation_records(config, chosen)), size


def _truth(record: dict[str, Any], config: Config, image_size: tuple[int, int]) -> list[GalleryObject]:
    objects = record["objects"]
    found = []
    for index, label in enumerate(objects["label"]):
        if objects["is_crowd"][index]:
            continue
        ratio = float(objects["occlusion_ratio"][index])
        class_name = config.model.class_names[label]
        x1, y1, x2, y2 = map(float, objects["amodal_bbox"][index])
        found.append(
            GalleryObject(
                class_name=class_name,
                box=(x1, y1, x2, y2),
                score=None,
                remark=f"{ratio:.0%} hidden" if is_occluded(ratio) else "",
                details=f"{class_name}, {ratio:.1%} hidden, annotation {int(objects['id'][index])}",
                amodal_rle={"size": list(image_size), "counts": objects["amodal_rle"][index]},
                inmodal_rle={"size": list(image_size), "counts": objects["inmodal_rle"][index]},
            )
        )
    return found


def _detections(
    evaluation_dir: Path, categories: dict[int, str], image_ids: set[int]
) -> dict[int, list[GalleryObject]] | None:
    """The detections in some images by image id, best first; None if the run is not evaluated."""
    files = {kind: evaluation_dir / f"detections_{kind}.json" for kind in ("amodal", "inmodal")}
    by_kind = {kind: results for kind, path in files.items() if (results := _read_results(path)) is not None}
    boxes_only = _read_results(evaluation_dir / "detections.json") if not by_kind else None
    if boxes_only is None and not by_kind:
        return None
    # The files have the same detections; what a network has no mask of, or a file no entry of, stays without it.
    merged: dict[tuple, dict[str, Any]] = {}
    for kind, of_kind in (by_kind or {"det": boxes_only or []}).items():
        for result in of_kind:
            if result["image_id"] in image_ids:
                key = (result["image_id"], result["category_id"], *result["bbox"], result["score"])
                merged.setdefault(key, result)[f"{kind}_rle"] = result.get("segmentation")
    detections: dict[int, list[GalleryObject]] = {image_id: [] for image_id in image_ids}
    for result in sorted(merged.values(), key=lambda result: -result["score"]):
        found = detections[result["image_id"]]
        if len(found) >= _MOST_OBJECTS:
            continue
        x, y, width, height = map(float, result["bbox"])
        name = categories.get(result["category_id"], f"category {result['category_id']}")
        occluded = result.get("occluded")
        found.append(
            GalleryObject(
                class_name=name,
                box=(x, y, x + width, y + height),
                score=float(result["score"]),
                remark="occluded" if occluded is not None and occluded > 0.5 else "",
                details=f"{name}, score {result['score']:.3f}"
                + ("" if occluded is None else f", occluded with probability {occluded:.2f}"),
                amodal_rle=result.get("amodal_rle"),
                inmodal_rle=result.get("inmodal_rle"),
            )
        )
    return detections
