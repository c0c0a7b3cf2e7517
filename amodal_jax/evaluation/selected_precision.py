"""COCO's average precision over some of the instances, as `COCOeval` has it for small, medium and large ones.

COCOeval chooses them by a range of areas: an instance outside of it is ignored, and so is a detection that matches such
an instance, or none and is outside itself. It matches anew for each range, in loops over all thresholds, detections and
instances. Here the choice is any, COCOeval's overlaps are taken as they are, and only what overlaps is looked at, so
that a choice costs little; precision and recall are again COCOeval's own.

Shape shorthand: t IoU thresholds, d detections, g instances.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from pycocotools.cocoeval import COCOeval

_ALMOST_ONE = 1 - 1e-10  # COCOeval takes this overlap for a whole one


class Selection(NamedTuple):
    """Which instances and detections count."""

    instances: Bool[np.ndarray, " g"]  # by their place in the ground truth, which is their annotation id - 1
    detections: Bool[np.ndarray, " d"]  # by their place in the results: whether one that matches nothing is an error


class _Class(NamedTuple):
    """The detections and instances of one class in all images, and which of them overlap."""

    detections: np.ndarray  # int [d], their places in the results: by image, then by descending score
    scores: np.ndarray  # float [d]
    instances: list[int]  # places in the ground truth of those that are no crowds
    overlaps: list[tuple[int, list[tuple[int, int]]]]
    """By detection (its place in `detections`) the instances that it reaches the lowest threshold with, best first,
    each with the thresholds that it reaches as bits, the lowest first."""


def selected_average_precisions(evaluation: COCOeval, selections: Mapping[str, Selection]) -> dict[str, float]:
    """The average precision of each selection, the mean over classes and IoU thresholds.

    Instance i of the ground truth has to have the annotation id i + 1, which is also how `COCO.loadRes` counts results.
    Crowds are ignored whatever is selected.

    Args:
      evaluation: one of which `evaluate` has been called, with COCO's areas, the first of which holds everything.
      selections: by name.

    Returns:
      Fractions by the names of the selections; without those in which no instance counts.
    """
    crowds = _crowds(evaluation)
    classes = [_class(evaluation, position) for position in range(len(evaluation.params.catIds))]
    figures = {}
    for name, selection in selections.items():
        precision = _precision(evaluation, [_matches(one, selection, crowds, evaluation) for one in classes])
        if (precision > -1).any():
            # COCOeval adds machine epsilon to a denominator: all found can be 0.9999999999999998.
            figures[name] = round(float(precision[precision > -1].mean()), 12)
    return figures


def _images_of(evaluation: COCOeval, position: int) -> list[dict[str, Any]]:
    """COCOeval's matching in the images of one class, instances of all areas."""
    images = len(evaluation.params.imgIds)
    first = position * images * len(evaluation.params.areaRng)
    return [one for one in evaluation.evalImgs[first : first + images] if one is not None]


def _crowds(evaluation: COCOeval) -> set[int]:
    """The places of crowds in the ground truth; of instances of all areas they alone are ignored."""
    positions = range(len(evaluation.params.catIds))
    return {
        identifier - 1
        for position in positions
        for one in _images_of(evaluation, position)
        for identifier, ignored in zip(one["gtIds"], one["gtIgnore"], strict=True)
        if ignored
    }


def _class(evaluation: COCOeval, position: int) -> _Class:
    thresholds = np.minimum(evaluation.params.iouThrs, _ALMOST_ONE)
    detections: list[int] = []
    scores: list[float] = []
    instances: list[int] = []
    overlaps: list[tuple[int, list[tuple[int, int]]]] = []
    for one in _images_of(evaluation, position):
        first = len(detections)
        detections += [identifier - 1 for identifier in one["dtIds"]]
        scores += one["dtScores"]
        instances += [place - 1 for place, crowd in zip(one["gtIds"], one["gtIgnore"], strict=True) if not crowd]
        shares = evaluation.ious[one["image_id"], one["category_id"]]
        if len(shares) == 0 or len(one["gtIds"]) == 0:
            continue
        # COCOeval has moved crowds behind the others; its columns are in the order of the annotations.
        columns = sorted(one["gtIds"])
        rows, places = np.nonzero(shares >= thresholds[0])
        overlap = shares[rows, places]
        reached = (overlap[:, None] >= thresholds).sum(axis=1)
        # Of two that overlap alike COCOeval takes the later one.
        order = np.lexsort((-places, -overlap, rows))
        for row, place, count in zip(
            rows[order].tolist(), places[order].tolist(), reached[order].tolist(), strict=True
        ):
            if not overlaps or overlaps[-1][0] != first + row:
                overlaps.append((first + row, []))
            overlaps[-1][1].append((columns[place] - 1, (1 << count) - 1))
    return _Class(np.array(detections, int), np.array(scores, float), instances, overlaps)


def _matches(one: _Class, selection: Selection, crowds: set[int], evaluation: COCOeval) -> dict[str, Any]:
    """What COCOeval's `evaluateImg` gives, of all images of a class in one; without what is ignored at all thresholds.

    Detections take instances in the order of their scores, each the one that it overlaps most of those that are left,
    and one that counts before one that does not. All thresholds are matched together, one bit each.
    """
    number = len(evaluation.params.iouThrs)
    everything = (1 << number) - 1
    counts = selection.instances
    taken: dict[int, int] = {}
    true = np.zeros(len(one.detections), np.int64)
    ignored = np.zeros(len(one.detections), np.int64)
    for detection, candidates in one.overlaps:
        open_thresholds = everything
        for counted in (True, False):
            for instance, reached in candidates:
                crowd = instance in crowds
                if (bool(counts[instance]) and not crowd) != counted:
                    continue
                matched = open_thresholds & reached & (everything if crowd else ~taken.get(instance, 0))
                if matched:
                    taken[instance] = taken.get(instance, 0) | matched
                    open_thresholds &= ~matched
                    (true if counted else ignored)[detection] |= matched
    false = np.where(selection.detections[one.detections], everything & ~(true | ignored), 0)
    kept = np.flatnonzero(true | false)
    bits = np.arange(number)[:, None]
    is_true, is_false = ((values[kept] >> bits) & 1 > 0 for values in (true, false))
    return {
        "dtScores": one.scores[kept],
        "dtMatches": is_true,
        "dtIgnore": ~(is_true | is_false),
        "gtIgnore": np.zeros(int(np.count_nonzero(counts[one.instances])) if one.instances else 0),
    }


def _precision(evaluation: COCOeval, matches: Sequence[dict[str, Any]]) -> np.ndarray:
    """COCOeval's precision [t, recalls, classes], -1 where a class has no instance that counts."""
    accumulator = COCOeval(iouType=evaluation.params.iouType)
    parameters = accumulator.params
    parameters.iouThrs, parameters.recThrs = evaluation.params.iouThrs, evaluation.params.recThrs
    parameters.catIds, parameters.imgIds = list(range(len(matches))), [0]
    parameters.areaRng, parameters.areaRngLbl = [[0, 1e10]], ["all"]
    parameters.maxDets = [max((len(one["dtScores"]) for one in matches), default=0)]
    accumulator.evalImgs = list(matches)
    accumulator._paramsEval = parameters
    with contextlib.redirect_stdout(io.StringIO()):
        accumulator.accumulate()
    return accumulator.eval["precision"][:, :, :, 0, 0]
