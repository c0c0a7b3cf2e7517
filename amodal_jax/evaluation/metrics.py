"""The paper's figures: three COCO average precisions over the same detections, and occlusion accuracy.

Everything here is a function of a ground truth and of results in COCO's results format, so that files from elsewhere
are scored under the same protocol. Matching and precision are pycocotools' own `COCOeval`, unpatched: IoU 0.50 to 0.95,
at most 100 detections of a class in an image, small under 32 x 32 pixels, large over 96 x 96.
"""

import contextlib
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, Result
from amodal_jax.evaluation.by_occlusion import hidden_shares, precision_by_occlusion, same_detections
from amodal_jax.evaluation.mean_iou import mean_ious
from amodal_jax.occlusion import OCCLUSION_THRESHOLD, is_occluded

KINDS = {"det": "Det", "amodal": "Amodal Seg", "inmodal": "Inmodal Seg"}
SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # COCOeval's first six figures, in its order

OCCLUSION_LEVELS = {
    "visible": (-1.0, OCCLUSION_THRESHOLD),
    "partly_hidden": (OCCLUSION_THRESHOLD, 0.5),
    "mostly_hidden": (0.5, 1.0),
}
"""Bounds of the occlusion ratio, the lower one excluded."""


def evaluate_results(
    truth: AnnotatedImages, results: dict[str, list[Result]], occlusion_threshold: float = OCCLUSION_THRESHOLD
) -> dict[str, float]:
    """Scores results against the ground truth.

    Args:
      truth: what is there, in every image that was looked at.
      results: by kind, each scored if it is there: "det", boxes against amodal boxes; "amodal", masks against amodal
        masks; "inmodal", masks against inmodal masks. An instance without a visible pixel is not part of the inmodal
        ground truth. Crowds count neither for nor against.
      occlusion_threshold: an instance is occluded when its occlusion ratio is over this. By default the paper's,
        whatever threshold a network was trained with, so that networks of several thresholds can be compared.

    Returns:
      Fractions within [0, 1]; a figure without any instance to compute it from is absent:
      - "KIND/AP", "KIND/AP50", "KIND/AP75", "KIND/APs", "KIND/APm", "KIND/APl" as COCOeval gives them. Small, medium
        and large go by the true area of the mask of that kind ("det": of the amodal mask), and by the area of what is
        detected, which for masks is that of the mask and not of the box.
      - "KIND/AP/CLASS", the AP of each class.
      - "KIND/AR/LEVEL" for the masks, the share of the instances of each of `OCCLUSION_LEVELS` that are found, as the
        mean over the ten IoU thresholds. (No AP, since a false detection has no occlusion level.)
      - "occlusion_accuracy": the paper reports it without a definition. Here: over the detections in "det" that
        COCOeval matches with an instance at IoU 0.5 (same class, greedily by descending score, crowds left out), the
        share that are called occluded exactly if the instance is. A detection is called so when its `occluded` is over
        0.5; where none has `occluded`, as of a network without the branch, when more than `occlusion_threshold` of its
        amodal mask is outside its inmodal mask, for which all three lists have to hold the same detections in the same
        order. Absent where a decision is.
      - "occlusion_matches", the number of those detections, and where masks decided "occlusion_from_masks", the same;
        "images" and "detections", those of the whole evaluation.
      - the figures of `by_occlusion.precision_by_occlusion` and `mean_iou.mean_ious`.

    Raises:
      DataError: no image or instance at all, or a result of an image or category that the ground truth does not have.
    """
    if not truth.image_sizes or not truth.instances:
        raise DataError("the ground truth has no images or no instances: nothing can be measured on it")
    unknown = set(results) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown kinds of results {sorted(unknown)}; known are {list(KINDS)}")
    metrics: dict[str, float] = {}
    evaluations: dict[str, COCOeval] = {}
    for kind in KINDS:
        if kind not in results:
            continue
        evaluation = run_coco_eval(truth, results[kind], kind)
        evaluations[kind] = evaluation
        metrics |= {f"{kind}/{name}": value for name, value in _average_precisions(evaluation, truth).items()}
        if kind == "det":
            metrics |= _occlusion_accuracy(evaluation, truth, results, occlusion_threshold)
        else:
            metrics |= {f"{kind}/AR/{level}": value for level, value in _recall_by_occlusion(evaluation, truth).items()}
    metrics |= precision_by_occlusion(evaluations, truth, results) | mean_ious(evaluations, truth, results)
    metrics["images"] = len(truth.image_sizes)
    metrics["detections"] = max((len(found) for found in results.values()), default=0)
    return metrics


def results_from_truth(truth: AnnotatedImages) -> dict[str, list[Result]]:
    """The ground truth as perfect results of all three kinds, without crowds: `evaluate_results` gives 1.0 for them."""
    results: dict[str, list[Result]] = {kind: [] for kind in KINDS}
    for instance in truth.instances:
        if instance.is_crowd:
            continue
        common = {
            "image_id": instance.image_id,
            "category_id": instance.category_id,
            "bbox": list(instance.box),
            "score": 1.0,
            "occluded": float(is_occluded(instance.occlusion_ratio)),
        }
        results["det"].append(common)
        results["amodal"].append(common | {"segmentation": instance.amodal_rle})
        if coco_mask.area(instance.inmodal_rle):
            results["inmodal"].append(common | {"segmentation": instance.inmodal_rle})
    return results


def format_table(metrics: dict[str, float]) -> str:
    """The metrics as the paper's table, in per cent, "-" where there is none."""
    lines = [f"{'%':<12}" + "".join(f"{name:>7}" for name in SUMMARY)]
    for kind, title in KINDS.items():
        values = [metrics.get(f"{kind}/{name}") for name in SUMMARY]
        lines.append(
            f"{title:<12}" + "".join(f"{'-' if value is None else f'{100 * value:.1f}':>7}" for value in values)
        )
    accuracy = metrics.get("occlusion_accuracy")
    if accuracy is not None:
        matches = int(metrics["occlusion_matches"])
        by_masks = " (by their two masks)" if "occlusion_from_masks" in metrics else ""
        lines.append(f"Occlusion accuracy {100 * accuracy:.1f} over {matches} matched detections{by_masks}")
    lines.append(f"{int(metrics['images'])} images, {int(metrics['detections'])} detections")
    return "\n".join(lines)


def run_coco_eval(truth: AnnotatedImages, found: list[Result], kind: str) -> COCOeval:
    """Stock COCOeval of one kind, run quietly. Instance i of the truth has the id i + 1, for 0 means unmatched."""
    annotations = []
    for number, instance in enumerate(truth.instances, start=1):
        rle = instance.inmodal_rle if kind == "inmodal" else instance.amodal_rle
        area = float(coco_mask.area(rle))
        if kind == "inmodal" and not area:
            continue
        annotations.append(
            {
                "id": number,
                "image_id": instance.image_id,
                "category_id": instance.category_id,
                "bbox": list(instance.box),
                "segmentation": rle,
                "area": area,
                "iscrowd": int(instance.is_crowd),
            }
        )
    dataset = {
        "info": {},
        "images": [{"id": image, "height": size[0], "width": size[1]} for image, size in truth.image_sizes.items()],
        "categories": [{"id": category, "name": name} for category, name in truth.categories.items()],
    }
    # COCO takes a detection's area from its box where it has one, and from its mask only where it has none.
    key = "bbox" if kind == "det" else "segmentation"
    copies = []
    for result in found:
        if result["image_id"] not in truth.image_sizes:
            raise DataError(f"{kind} results: image id {result['image_id']} is not in the ground truth")
        if result["category_id"] not in truth.categories:
            raise DataError(f"{kind} results: category id {result['category_id']} is not in the ground truth")
        if key not in result:
            raise DataError(f'{kind} results: a detection in image id {result["image_id"]} has no "{key}"')
        copies.append({name: result[name] for name in ("image_id", "category_id", "score", key)})
    with contextlib.redirect_stdout(io.StringIO()):
        expected = _coco(dataset | {"annotations": annotations})
        # An empty list is a valid result, but not for `loadRes`.
        detected = expected.loadRes(copies) if copies else _coco(dataset | {"annotations": []})
        evaluation = COCOeval(expected, detected, "bbox" if kind == "det" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _coco(dataset: dict) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _average_precisions(evaluation: COCOeval, truth: AnnotatedImages) -> dict[str, float]:
    """COCOeval's figures by name; it marks those that nothing was there for with -1.

    Rounded to 12 decimals, because COCOeval adds machine epsilon to a denominator: a class whose only instance is found
    has a precision of 0.9999999999999998.
    """
    figures = dict(zip(SUMMARY, evaluation.stats, strict=False))
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class], areas of all sizes
    for position, category in enumerate(evaluation.params.catIds):
        figures[f"AP/{truth.categories[category]}"] = precision[:, :, position].mean()
    return {name: round(float(value), 12) for name, value in figures.items() if value >= 0}


def _matches_of_all_sizes(evaluation: COCOeval):
    """COCOeval's matching in each image and class, instances of all areas."""
    everything = evaluation.params.areaRng[0]
    return (match for match in evaluation.evalImgs if match is not None and match["aRng"] == everything)


def _occlusion_accuracy(
    evaluation: COCOeval, truth: AnnotatedImages, results: dict[str, list[Result]], threshold: float
) -> dict[str, float]:
    found = results["det"]
    from_masks = not any("occluded" in one for one in found)
    if from_masks and not all(same_detections(found, results.get(kind)) for kind in ("amodal", "inmodal")):
        return {}
    hidden = hidden_shares(results["amodal"], results["inmodal"]) if from_masks else None

    def is_called_occluded(place: int) -> bool | None:
        if hidden is not None:
            return bool(is_occluded(hidden[place], threshold))
        probability = found[place].get("occluded")
        return None if probability is None else probability > 0.5

    correct = matches = 0
    for match in _matches_of_all_sizes(evaluation):
        for result_id, truth_id, ignored in zip(
            match["dtIds"], match["dtMatches"][0], match["dtIgnore"][0], strict=True
        ):
            if not truth_id or ignored:
                continue
            called = is_called_occluded(result_id - 1)
            if called is None:
                continue
            matches += 1
            correct += called == bool(is_occluded(truth.instances[int(truth_id) - 1].occlusion_ratio, threshold))
    if not matches:
        return {}
    metrics = {"occlusion_accuracy": correct / matches, "occlusion_matches": matches}
    return metrics | ({"occlusion_from_masks": matches} if from_masks else {})


def _recall_by_occlusion(evaluation: COCOeval, truth: AnnotatedImages) -> dict[str, float]:
    found: dict[str, list[np.ndarray]] = {level: [] for level in OCCLUSION_LEVELS}
    for match in _matches_of_all_sizes(evaluation):
        for column, truth_id in enumerate(match["gtIds"]):
            if match["gtIgnore"][column]:
                continue
            ratio = truth.instances[truth_id - 1].occlusion_ratio
            for level, (lower, upper) in OCCLUSION_LEVELS.items():
                if is_occluded(ratio, lower) and not is_occluded(ratio, upper):
                    found[level].append(match["gtMatches"][:, column] > 0)
    return {level: float(np.mean(matched)) for level, matched in found.items() if matched}
