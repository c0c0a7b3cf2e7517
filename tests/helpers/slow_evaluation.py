"""COCO's average precision and mean IoUs as they are defined, pixel by pixel and one detection after another.

Written apart from pycocotools, to be read beside the definition. Masks are bool [H, W].
"""

import dataclasses

import numpy as np

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


@dataclasses.dataclass(frozen=True)
class Thing:
    """An instance, or a detection with a score."""

    image: int
    category: int
    whole: np.ndarray
    visible: np.ndarray
    score: float = 0.0
    is_crowd: bool = False

    @property
    def hidden(self) -> float:
        """The hidden share; NaN of nothing."""
        pixels = np.count_nonzero(self.whole)
        return np.count_nonzero(self.whole & ~self.visible) / pixels if pixels else np.nan


def iou(first: np.ndarray, second: np.ndarray, is_crowd: bool = False) -> float:
    """Shared pixels over all of both, or with a crowd over those of the detection, which comes first."""
    shared = np.count_nonzero(first & second)
    total = np.count_nonzero(first) if is_crowd else np.count_nonzero(first | second)
    return shared / total if total else 0.0


def average_precision(instances: list[Thing], detections: list[Thing], kind: str, counts, errs) -> float | None:
    """The mean over classes and thresholds; None where no instance counts.

    `kind` names the mask, `counts(instance)` says whether an instance counts, `errs(detection)` whether a detection
    that matches nothing is an error.
    """
    precisions = []
    for category in sorted({one.category for one in instances}):
        of_class = [one for one in instances if one.category == category]
        if not any(counts(one) and not one.is_crowd for one in of_class):
            continue
        ranked = sorted((one for one in detections if one.category == category), key=lambda one: (one.image,))
        for threshold in THRESHOLDS:
            outcomes = []
            for image in sorted({one.image for one in ranked}):
                here = [one for one in of_class if one.image == image]
                taken = [False] * len(here)
                for found in sorted((one for one in ranked if one.image == image), key=lambda one: -one.score):
                    outcomes.append((found.score, _outcome(found, here, taken, threshold, kind, counts, errs)))
            total = sum(counts(one) and not one.is_crowd for one in of_class)
            precisions.append(_interpolated(outcomes, total))
    return float(np.mean(precisions)) if precisions else None


def _outcome(found, here, taken, threshold, kind, counts, errs) -> str:
    """What becomes of a detection: "true", "false" or "ignored"."""
    for regular in (True, False):
        best, overlap = None, threshold
        for place, one in enumerate(here):
            if (counts(one) and not one.is_crowd) != regular or (taken[place] and not one.is_crowd):
                continue
            value = iou(getattr(found, kind), getattr(one, kind), one.is_crowd)
            if value >= overlap:
                best, overlap = place, value
        if best is not None:
            taken[best] = True
            return "true" if regular else "ignored"
    return "false" if errs(found) else "ignored"


def _interpolated(outcomes: list[tuple[float, str]], total: int) -> float:
    """The mean over 101 recalls of the best precision at that recall or a higher one."""
    true = false = 0
    points = []
    for _, outcome in sorted(outcomes, key=lambda one: -one[0]):
        true += outcome == "true"
        false += outcome == "false"
        if outcome != "ignored":
            points.append((true / total, true / (true + false)))
    recalls = np.linspace(0, 1, 101)
    return float(np.mean([max((p for r, p in points if r >= recall), default=0.0) for recall in recalls]))
