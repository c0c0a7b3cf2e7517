"""The mean IoU of masks of what was found, beside counting pixels, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings

from amodal_jax.evaluation.by_occlusion import HIDING_DEGREES, of_degree
from amodal_jax.evaluation.metrics import evaluate_results, results_from_truth
from tests.evaluation.test_by_occlusion import (
    detection_lists,
    instance_lists,
    rectangle,
    results_of,
    truth_of,
)
from tests.helpers.slow_evaluation import Thing, iou


def box_of(mask: np.ndarray) -> np.ndarray:
    """The rectangle around a mask, as a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.zeros_like(mask)
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def slow_matches(instances: list[Thing], detections: list[Thing]) -> list[tuple[Thing, Thing]]:
    """By descending score, with the box that overlaps most of those left, by half or more; crowds come last."""
    pairs = []
    for image in (1, 2):
        for category in (2, 4):
            here = [one for one in instances if (one.image, one.category) == (image, category)]
            found = [one for one in detections if (one.image, one.category) == (image, category)]
            taken: set[int] = set()
            for one in sorted(found, key=lambda one: -one.score):
                best, overlap = None, 0.5
                for place, instance in enumerate(here):
                    value = iou(box_of(one.whole), box_of(instance.whole))
                    if place not in taken and not instance.is_crowd and value >= overlap:
                        best, overlap = place, value
                if best is not None:
                    taken.add(best)
                    pairs.append((here[best], one))
    return pairs


@settings(max_examples=60, deadline=None)
@given(instance_lists, detection_lists)
def test_mean_ious_are_those_of_the_pixels(instances, detections):
    metrics = evaluate_results(truth_of(instances), results_of(detections))
    pairs = slow_matches(instances, detections)
    assert metrics["iou_matches"] == len(pairs)
    parts = {"amodal": [], "inmodal": [], "hidden": []}
    for instance, found in pairs:
        parts["amodal"].append((instance, iou(found.whole, instance.whole)))
        if instance.visible.any():
            parts["inmodal"].append((instance, iou(found.visible, instance.visible)))
        hidden = instance.whole & ~instance.visible
        if hidden.any():
            parts["hidden"].append((instance, iou(found.whole & ~instance.visible, hidden)))
    for part, values in parts.items():
        every = [value for _, value in values]
        assert metrics.get(f"{part}/IoU") == (pytest.approx(np.mean(every)) if every else None)
        for degree in HIDING_DEGREES:
            some = [value for one, value in values if of_degree(np.array([one.hidden]), degree)[0]]
            assert metrics.get(f"{part}/IoU_by_hiding/{degree}") == (pytest.approx(np.mean(some)) if some else None)
    for degree in HIDING_DEGREES:
        here = [one for one in instances if not one.is_crowd and of_degree(np.array([one.hidden]), degree)[0]]
        share = sum(any(one is found for found, _ in pairs) for one in here) / len(here) if here else None
        assert metrics.get(f"matched_by_hiding/{degree}") == (None if share is None else pytest.approx(share))


def test_a_mask_of_what_is_seen_alone_has_no_hidden_part():
    """A car of 8 columns of which 3 are hidden, found as the 5 that are seen, and as 7."""
    car = Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 5, 4))
    for columns, whole, hidden in ((5, 5 / 8, 0.0), (7, 7 / 8, 2 / 3)):
        metrics = evaluate_results(
            truth_of([car]), results_of([Thing(1, 4, rectangle(0, 0, columns, 4), car.visible, 0.9)])
        )
        assert metrics["amodal/IoU"] == metrics["amodal/IoU_by_hiding/25_to_50"] == pytest.approx(whole)
        assert metrics["hidden/IoU"] == pytest.approx(hidden)
        assert metrics["inmodal/IoU"] == 1


def test_what_was_not_found_is_in_the_share_that_is_matched_and_not_in_the_mean():
    cars = [Thing(image, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 5, 4)) for image in (1, 2)]
    truth = truth_of(cars)
    results = {kind: found[:1] for kind, found in results_from_truth(truth).items()}
    metrics = evaluate_results(truth, results)
    assert metrics["hidden/IoU"] == metrics["amodal/IoU"] == 1
    assert metrics["matched_by_hiding/25_to_50"] == 0.5
    assert metrics["iou_matches"] == 1


def test_boxes_of_other_detections_than_the_masks_match_nothing():
    car = Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 5, 4))
    results = results_of([Thing(1, 4, car.whole, car.visible, score) for score in (0.9, 0.5)])
    assert "iou_matches" not in evaluate_results(truth_of([car]), results | {"det": results["det"][::-1]})
    without_inmodal = {kind: results[kind] for kind in ("det", "amodal")}
    metrics = evaluate_results(truth_of([car]), without_inmodal)
    assert metrics["hidden/IoU"] == 1
    assert "inmodal/IoU" not in metrics
