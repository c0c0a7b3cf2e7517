"""Average precision by how much of an object is hidden.

Two divisions, which differ in more than their bounds: that of the papers which put the visible share of an object in
the place of its area, where each row holds the next, and one into degrees that do not overlap. In both a detection that
matches nothing counts as false where the visible share of its own two masks lies, as COCO has it for sizes.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from pycocotools.cocoeval import COCOeval

from amodal_jax.evaluation.annotated import AnnotatedImages, Result
from amodal_jax.evaluation.selected_precision import Selection, selected_average_precisions
from amodal_jax.masks import segmentation
from amodal_jax.occlusion import OCCLUSION_THRESHOLD, is_occluded

VISIBLE_RATIOS = (0.85, 0.75, 0.6)
"""The most that is visible of what counts, as a share of the object: APs, APm and APl of VRSP's and AISFormer's code.

Their `areaRng` is [0, 1], [0, 0.85], [0, 0.75], [0, 0.6]: `detectron2/data/amodal_datasets/pycocotools/cocoeval.py` in
YutingXiao/Amodal-Segmentation-Based-on-Visible-Region-Segmentation-and-Shape-Prior and in UARK-AICV/AISFormer.
"""

HIDING_DEGREES = {
    "0_to_5": (-1.0, OCCLUSION_THRESHOLD),
    "5_to_25": (OCCLUSION_THRESHOLD, 0.25),
    "25_to_50": (0.25, 0.5),
    "50_to_75": (0.5, 0.75),
    "75_to_100": (0.75, 1.0),
}
"""Bounds of the hidden share by its per cents, the lower one excluded."""


def of_degree(hidden: Float[np.ndarray, " n"], degree: str) -> Bool[np.ndarray, " n"]:
    """Which hidden shares are of a degree; they are compared as `is_occluded` compares them."""
    lower, upper = HIDING_DEGREES[degree]
    return is_occluded(hidden, lower) & ~is_occluded(hidden, upper)


def precision_by_occlusion(
    evaluations: Mapping[str, COCOeval], truth: AnnotatedImages, results: Mapping[str, list[Result]]
) -> dict[str, float]:
    """COCO's average precision over instances and detections of which certain shares are hidden.

    An instance's share is its occlusion ratio. A detection's is the share of its amodal mask that is outside of its
    inmodal mask; one without an amodal pixel has none and counts in every row, as in VRSP's code, whose 0 / 0 is within
    all bounds.

    Args:
      evaluations: COCOeval by kind, instance i with the annotation id i + 1, after `evaluate`.
      truth: what they are of.
      results: what they are of, by kind.

    Returns:
      For each kind whose results are the same detections as those of both masks, in the same order (without that a
      detection has no share), and where an instance counts:
      - "KIND/AP_visible_ratio/RATIO" for each of `VISIBLE_RATIOS`, at most so much visible,
      - "KIND/AP_by_hiding/DEGREE" for each of `HIDING_DEGREES`.
    """
    if not same_detections(results.get("amodal"), results.get("inmodal")):
        return {}
    instances = np.array([one.occlusion_ratio for one in truth.instances], float)
    detections = hidden_shares(results["amodal"], results["inmodal"])
    unknown = np.isnan(detections)
    selections = {
        f"AP_visible_ratio/{ratio:g}": Selection(
            _visible_at_most(instances, ratio), unknown | _visible_at_most(detections, ratio)
        )
        for ratio in VISIBLE_RATIOS
    }
    selections |= {
        f"AP_by_hiding/{degree}": Selection(of_degree(instances, degree), unknown | of_degree(detections, degree))
        for degree in HIDING_DEGREES
    }
    return {
        f"{kind}/{name}": value
        for kind, evaluation in evaluations.items()
        if same_detections(results[kind], results["amodal"])
        for name, value in selected_average_precisions(evaluation, selections).items()
    }


def _visible_at_most(hidden: Float[np.ndarray, " n"], ratio: float) -> Bool[np.ndarray, " n"]:
    return ~is_occluded(1 - hidden, ratio)


def same_detections(first: list[Result] | None, second: list[Result] | None) -> bool:
    """Whether two lists are there and hold the same detections in the same order, by image, class and score."""
    if first is None or second is None or len(first) != len(second):
        return False
    keys = ("image_id", "category_id", "score")
    return all(one[key] == other[key] for one, other in zip(first, second, strict=True) for key in keys)


def hidden_shares(amodal: list[Result], inmodal: list[Result]) -> Float[np.ndarray, " n"]:
    """The share of each amodal mask that is outside the inmodal one; NaN of a mask without pixels."""
    shares = np.full(len(amodal), np.nan)
    for place, (whole, visible) in enumerate(zip(amodal, inmodal, strict=True)):
        area = segmentation.area(whole["segmentation"])
        if area:
            shared = segmentation.intersection_area(whole["segmentation"], visible["segmentation"])
            shares[place] = (area - shared) / area
    return shares
