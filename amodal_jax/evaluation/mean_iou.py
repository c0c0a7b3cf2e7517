"""How well masks agree with those of the objects that were found: the mean IoU of whole, visible and hidden parts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance, Result
from amodal_jax.evaluation.by_occlusion import HIDING_DEGREES, of_degree, same_detections
from amodal_jax.masks import segmentation


class _Match(NamedTuple):
    """A detection whose box matches that of an instance."""

    instance: int  # place in the ground truth
    detection: int  # place in the results
    amodal: float  # IoU of the amodal masks
    inmodal: float  # IoU of the inmodal masks; NaN where the instance or the network has none


def mean_ious(
    evaluations: Mapping[str, COCOeval], truth: AnnotatedImages, results: Mapping[str, list[Result]]
) -> dict[str, float]:
    """The mean IoU of the masks of detections with those of the instances that their boxes match.

    A detection and an instance belong to each other where COCOeval matches their boxes at IoU 0.5: of one class, by
    descending score, crowds left out. The masks have no part in it. Every matched instance counts the same, whatever
    its class. That of hidden parts is C2F-Seg's occluded mIoU (`utils/evaluation.py` of amazon-science/c2f-seg): what
    the amodal mask has beyond the instance's visible part, with the instance's hidden part; of instances that have one.
    C2F-Seg, however, is given the visible part of every object and need not find them.

    Args:
      evaluations: COCOeval by kind, instance i with the annotation id i + 1, after `evaluate`.
      truth: what they are of.
      results: what they are of, by kind.

    Returns:
      Where "det" and "amodal" are of the same detections in the same order, fractions, absent where no instance counts:
      - "amodal/IoU", "hidden/IoU" and, where "inmodal" is of the same detections, "inmodal/IoU", of instances of which
        something is visible;
      - the same of the instances of each of `HIDING_DEGREES`, "amodal/IoU_by_hiding/DEGREE" and so on;
      - "matched_by_hiding/DEGREE", the share of all instances of the degree that is matched;
      - "iou_matches", the number of instances that are matched.
    """
    if not same_detections(results.get("det"), results.get("amodal")):
        return {}
    visible = evaluations["inmodal"] if same_detections(results["det"], results.get("inmodal")) else None
    matches = list(_matches(evaluations["det"], evaluations["amodal"], visible))
    ratios = np.array([one.occlusion_ratio for one in truth.instances], float)
    regular = np.array([not one.is_crowd for one in truth.instances])
    matched = np.array([one.instance for one in matches], int)
    parts = {
        "amodal": np.array([one.amodal for one in matches], float),
        "inmodal": np.array([one.inmodal for one in matches], float),
        "hidden": np.array(
            [_hidden_iou(results["amodal"][one.detection], truth.instances[one.instance]) for one in matches], float
        ),
    }
    figures = {"iou_matches": float(len(matches))}
    for degree in HIDING_DEGREES:
        here = of_degree(ratios, degree) & regular
        if here.any():
            figures[f"matched_by_hiding/{degree}"] = np.count_nonzero(here[matched]) / np.count_nonzero(here)
    for part, ious in parts.items():
        counted = ~np.isnan(ious)
        if counted.any():
            figures[f"{part}/IoU"] = float(ious[counted].mean())
        for degree in HIDING_DEGREES:
            here = counted & of_degree(ratios[matched], degree)
            if here.any():
                figures[f"{part}/IoU_by_hiding/{degree}"] = float(ious[here].mean())
    return figures


def _matches(boxes: COCOeval, amodal: COCOeval, inmodal: COCOeval | None) -> Iterator[_Match]:
    """COCOeval's matches of boxes at its lowest threshold, with the overlaps of masks that it has computed."""
    everything = boxes.params.areaRng[0]
    others = [None] * len(boxes.evalImgs) if inmodal is None else inmodal.evalImgs
    # The three have the same detections of each image and class in the same rows, but not the same instances.
    for match, of_amodal, of_inmodal in zip(boxes.evalImgs, amodal.evalImgs, others, strict=True):
        if match is None or match["aRng"] != everything:
            continue
        key = int(match["image_id"]), int(match["category_id"])
        for row, (detection, instance) in enumerate(zip(match["dtIds"], match["dtMatches"][0], strict=True)):
            if instance and not match["dtIgnore"][0][row]:
                yield _Match(
                    instance=int(instance) - 1,
                    detection=detection - 1,
                    amodal=_overlap(amodal, of_amodal, key, row, int(instance)),
                    inmodal=np.nan if inmodal is None else _overlap(inmodal, of_inmodal, key, row, int(instance)),
                )


def _overlap(evaluation: COCOeval, match: dict, key: tuple[int, int], row: int, instance: int) -> float:
    """The IoU of a detection with an instance; NaN where the evaluation is without the instance."""
    columns = sorted(match["gtIds"])  # COCOeval has moved crowds behind the others
    return float(evaluation.ious[key][row, columns.index(instance)]) if instance in columns else np.nan


def _hidden_iou(result: Result, instance: AnnotatedInstance) -> float:
    """The IoU of what a mask and an instance have outside of the instance's visible part; NaN if the latter has none.

    No mask of the parts is made, only areas: of masks m, a (amodal) and v (visible), m and a without v share what m and
    a share without what all three share.
    """
    mask, whole, visible = result["segmentation"], instance.amodal_rle, instance.inmodal_rle
    hidden = segmentation.area(whole) - segmentation.intersection_area(whole, visible)
    if not hidden:
        return np.nan
    of_mask = segmentation.area(mask) - segmentation.intersection_area(mask, visible)
    shared = segmentation.intersection_area(mask, whole) - segmentation.intersection_area(mask, whole, visible)
    return shared / (hidden + of_mask - shared)
