"""The figures against cases that can be worked out by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance
from amodal_jax.evaluation.metrics import KINDS, evaluate_results, format_table, results_from_truth

SIZE = (120, 200)
CATEGORIES = {4: "car", 2: "pedestrian"}


def rectangle(x: int, y: int, width: int, height: int) -> dict:
    mask = np.zeros(SIZE, np.uint8)
    mask[y : y + height, x : x + width] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


def instance(image_id=1, category_id=4, box=(10, 10, 40, 20), hidden=0, is_crowd=False) -> AnnotatedInstance:
    """A rectangle whose last `hidden` columns cannot be seen."""
    x, y, width, height = box
    return AnnotatedInstance(
        image_id=image_id,
        category_id=category_id,
        box=tuple(map(float, box)),
        amodal_rle=rectangle(*box),
        inmodal_rle=rectangle(x, y, width - hidden, height),
        occlusion_ratio=hidden / width,
        is_crowd=is_crowd,
    )


def truth_of(*instances: AnnotatedInstance, images: int = 2) -> AnnotatedImages:
    return AnnotatedImages(dict.fromkeys(range(1, images + 1), SIZE), CATEGORIES, list(instances))


def result(box, score, image_id=1, category_id=4, **more) -> dict:
    common = {"image_id": image_id, "category_id": category_id, "bbox": list(box), "score": score}
    return common | {"segmentation": rectangle(*box)} | more


instances = st.builds(
    lambda image_id, category_id, x, y, width, height, hidden: instance(
        image_id, category_id, (x, y, width, height), min(hidden, width)
    ),
    st.integers(1, 3),
    st.sampled_from(sorted(CATEGORIES)),
    st.integers(0, 99),
    st.integers(0, 59),
    st.integers(1, 100),
    st.integers(1, 60),
    st.integers(0, 100),
)


@settings(max_examples=30)
@given(st.lists(instances, min_size=1, max_size=12, unique_by=lambda i: (i.image_id, i.category_id, i.box)))
def test_the_ground_truth_as_prediction_scores_exactly_one(found):
    truth = truth_of(*found, images=3)
    metrics = evaluate_results(truth, results_from_truth(truth))
    assert metrics["det/AP"] == metrics["amodal/AP"] == 1.0
    visible = [one for one in found if coco_mask.area(one.inmodal_rle)]
    assert metrics.get("inmodal/AP") == (1.0 if visible else None)
    assert metrics["occlusion_accuracy"] == 1.0
    assert metrics["occlusion_matches"] == metrics["detections"] == len(found)
    assert metrics["images"] == 3
    assert all(value == 1.0 for name, value in metrics.items() if "/" in name)


def test_average_precision_by_hand():
    """Three cars, four detections: a hit, a miss, a hit, and a duplicate of the first.

    Precision at the recalls 1/3 and 2/3 is 1 and 2/3. COCO reads it at the recalls 0, 0.01, ..., 1: 34 of them are at
    most 1/3, 33 more at most 2/3, and the 34 above are never reached.
    """
    cars = [(10, 10, 40, 20), (70, 10, 40, 20), (10, 60, 40, 20)]
    truth = truth_of(*(instance(box=box) for box in cars))
    found = [
        result(cars[0], 0.9),
        result((150, 80, 30, 30), 0.8),
        result(cars[1], 0.7),
        result(cars[0], 0.6),
    ]
    metrics = evaluate_results(truth, {"det": found, "amodal": found, "inmodal": found})
    expected = (34 * 1 + 33 * 2 / 3) / 101
    for kind in ("det", "amodal", "inmodal"):
        for name in ("AP", "AP50", "AP75", "AP/car"):
            assert metrics[f"{kind}/{name}"] == pytest.approx(expected, abs=1e-9)
        assert f"{kind}/AP/pedestrian" not in metrics


def test_average_precision_counts_the_thresholds_that_an_overlap_reaches():
    # 27 of 40 columns shared: IoU 0.675 for boxes and masks alike, over 4 of the 10 thresholds.
    truth = truth_of(instance(box=(10, 10, 40, 20)))
    found = [result((10, 10, 27, 20), 0.9)]
    metrics = evaluate_results(truth, {"det": found, "amodal": found})
    for kind in ("det", "amodal"):
        assert metrics[f"{kind}/AP"] == pytest.approx(0.4)
        assert metrics[f"{kind}/AP50"] == pytest.approx(1)
        assert metrics[f"{kind}/AP75"] == 0


def test_each_kind_is_measured_on_its_own_ground_truth():
    # Half of the car is hidden. What is found is its visible half, twice.
    truth = truth_of(instance(box=(10, 10, 80, 40), hidden=40))
    visible = result((10, 10, 40, 40), 0.9)
    boxed = visible | {"bbox": [10, 10, 80, 40]}
    metrics = evaluate_results(truth, {"det": [boxed], "amodal": [visible], "inmodal": [visible]})
    assert metrics["det/AP"] == 1
    assert metrics["amodal/AP50"] == 1  # an IoU of exactly one half is a hit
    assert metrics["amodal/AP"] == pytest.approx(0.1)
    assert metrics["inmodal/AP"] == 1
    assert metrics["amodal/AR/partly_hidden"] == pytest.approx(0.1)
    assert metrics["inmodal/AR/partly_hidden"] == 1
    assert "amodal/AR/visible" not in metrics


def test_sizes_go_by_the_area_of_the_mask_of_the_kind():
    # 40 x 40 whole is medium; the 20 x 40 that is seen is small.
    truth = truth_of(instance(box=(10, 10, 40, 40), hidden=20))
    metrics = evaluate_results(truth, results_from_truth(truth))
    assert metrics["det/APm"] == metrics["amodal/APm"] == metrics["inmodal/APs"] == 1
    assert {"det/APs", "amodal/APs", "inmodal/APm", "amodal/APl"}.isdisjoint(metrics)


def test_a_detection_has_the_size_of_its_mask_not_of_its_box():
    # A false detection with a medium box and a small mask spoils the small, not the medium.
    truth = truth_of(instance(box=(10, 10, 50, 50)), instance(box=(80, 10, 20, 20)), instance(box=(110, 10, 20, 20)))
    results = results_from_truth(truth)["amodal"]
    false = result((150, 60, 10, 10), 2.0) | {"bbox": [120, 60, 50, 50]}
    metrics = evaluate_results(truth, {"amodal": [false, *results]})
    assert metrics["amodal/APm"] == 1
    assert metrics["amodal/APs"] == pytest.approx(2 / 3)


def test_occlusion_accuracy_by_hand():
    boxes = [(10, 10, 40, 20), (70, 10, 40, 20), (10, 60, 40, 20), (70, 60, 40, 20)]
    hidden = [0, 10, 2, 4]  # ratios 0, 0.25, 0.05, 0.1
    truth = truth_of(*(instance(box=box, hidden=columns) for box, columns in zip(boxes, hidden, strict=True)))
    found = [
        result(boxes[0], 0.9, occluded=0.2),  # right
        result(boxes[1], 0.8, occluded=0.9),  # right
        result(boxes[2], 0.7, occluded=0.6),  # wrong: 0.05 is not over 0.05
        result(boxes[3], 0.6, occluded=0.3),  # wrong at 0.05, right at 0.15
        result(boxes[0], 0.5, occluded=0.9),  # a duplicate is not matched
        result((150, 80, 30, 30), 0.4, occluded=0.9),  # nor is a miss
        result(boxes[1], 0.95, occluded=0.1, category_id=2),  # nor is another class
    ]
    metrics = evaluate_results(truth, {"det": found})
    assert metrics["occlusion_accuracy"] == 0.5
    assert metrics["occlusion_matches"] == 4
    assert evaluate_results(truth, {"det": found}, occlusion_threshold=0.15)["occlusion_accuracy"] == 0.75


def masked(box: tuple[int, int, int, int], score: float, hidden: int, beyond: int = 0) -> dict[str, dict]:
    """A detection of both kinds: `hidden` columns on the left are invisible, `beyond` ones on the right visible."""
    x, y, width, height = box
    one = result(box, score)
    return {
        "det": {key: value for key, value in one.items() if key != "segmentation"},
        "amodal": one,
        "inmodal": one | {"segmentation": rectangle(x + hidden, y, width - hidden + beyond, height)},
    }


def test_occlusion_accuracy_from_two_masks_where_nothing_says_occluded():
    boxes = [(10, 10, 40, 20), (70, 10, 40, 20), (10, 60, 40, 20), (70, 60, 40, 20)]
    truth = truth_of(*(instance(box=box, hidden=columns) for box, columns in zip(boxes, [0, 10, 2, 4], strict=True)))
    detections = [
        masked(boxes[0], 0.9, hidden=2, beyond=20),  # right: 0.05 is not over 0.05, and what lies beyond hides nothing
        masked(boxes[1], 0.8, hidden=3),  # right, but not at 0.1
        masked(boxes[2], 0.7, hidden=20),  # wrong
        masked(boxes[3], 0.6, hidden=4),  # right
        masked((150, 80, 30, 30), 0.4, hidden=9),  # a miss
    ]
    results = {kind: [one[kind] for one in detections] for kind in KINDS}
    metrics = evaluate_results(truth, results)
    assert metrics["occlusion_accuracy"] == 0.75
    assert metrics["occlusion_matches"] == metrics["occlusion_from_masks"] == 4
    assert evaluate_results(truth, results, occlusion_threshold=0.1)["occlusion_accuracy"] == 0.5
    assert "Occlusion accuracy 75.0 over 4 matched detections (by their two masks)" in format_table(metrics)

    # Lists that are not of the same detections say nothing of a detection, and a branch's word comes first.
    for kind in KINDS:
        assert "occlusion_accuracy" not in evaluate_results(truth, results | {kind: results[kind][::-1]})
        assert "occlusion_accuracy" not in evaluate_results(truth, {one: results[one] for one in KINDS if one != kind})
    branch = evaluate_results(truth, results | {"det": [one | {"occluded": 0.0} for one in results["det"]]})
    assert branch["occlusion_accuracy"] == 0.5
    assert "occlusion_from_masks" not in branch


def test_a_twentieth_is_not_over_5_per_cent_however_it_was_rounded():
    box = (10, 10, 40, 20)
    found = {"det": [result(box, 0.9, occluded=0.0)], "amodal": [result(box, 0.9)]}
    for ratio in (0.05, 2 / 40, 1 - 38 / 40, float(np.float32(0.05))):
        metrics = evaluate_results(truth_of(dataclasses.replace(instance(box=box), occlusion_ratio=ratio)), found)
        assert metrics["occlusion_accuracy"] == 1
        assert metrics["amodal/AR/visible"] == 1


def test_a_mask_without_pixels_is_not_called_occluded():
    box = (10, 10, 40, 20)
    empty = rectangle(0, 0, 0, 0)
    results = {kind: [one] for kind, one in masked(box, 0.9, hidden=0).items()}
    for kind in ("amodal", "inmodal"):
        results[kind] = [results[kind][0] | {"segmentation": empty}]
    assert evaluate_results(truth_of(instance(box=box)), results)["occlusion_accuracy"] == 1


def test_crowds_count_neither_for_nor_against():
    crowd = instance(box=(100, 60, 60, 40), is_crowd=True, hidden=30)
    truth = truth_of(instance(), crowd)
    without = results_from_truth(truth_of(instance()))
    assert results_from_truth(truth) == without
    within = result((110, 65, 20, 20), 0.99, occluded=0.9)
    metrics = evaluate_results(truth, without | {"det": [within, *without["det"]]})
    assert metrics["det/AP"] == 1
    assert metrics["occlusion_matches"] == 1


def test_false_detections_in_images_without_instances_count():
    truth = truth_of(instance(image_id=1), images=2)
    found = [result((10, 10, 40, 20), 0.9, image_id=2), *results_from_truth(truth)["det"]]
    found[1] = found[1] | {"score": 0.5}
    assert evaluate_results(truth, {"det": found})["det/AP"] == pytest.approx(0.5)


def test_what_was_not_predicted_is_left_out_and_what_was_not_found_is_zero():
    truth = truth_of(instance())
    only_boxes = [{key: value for key, value in result((10, 10, 40, 20), 0.9).items() if key != "segmentation"}]
    metrics = evaluate_results(truth, {"det": only_boxes})
    assert metrics["det/AP"] == 1
    assert not any(name.startswith(("amodal", "inmodal", "occlusion")) for name in metrics)

    metrics = evaluate_results(truth, {"det": [], "amodal": [], "inmodal": []})
    assert metrics["det/AP"] == metrics["amodal/AP"] == metrics["inmodal/AP"] == 0
    assert metrics["detections"] == 0
    assert "occlusion_accuracy" not in metrics


def test_the_arguments_are_left_as_they_were_and_nothing_is_printed(capsys):
    truth = truth_of(instance(hidden=10))
    results = results_from_truth(truth)
    before = {kind: [dict(one) for one in found] for kind, found in results.items()}
    evaluate_results(truth, results)
    assert results == before
    assert capsys.readouterr().out == ""


def test_what_does_not_belong_to_the_ground_truth_is_refused():
    truth = truth_of(instance())
    with pytest.raises(DataError, match="image id 77"):
        evaluate_results(truth, {"det": [result((1, 1, 5, 5), 0.5, image_id=77)]})
    with pytest.raises(DataError, match="category id 3"):
        evaluate_results(truth, {"det": [result((1, 1, 5, 5), 0.5, category_id=3)]})
    with pytest.raises(DataError, match='image id 1 has no "segmentation"'):
        evaluate_results(truth, {"amodal": [{"image_id": 1, "category_id": 4, "bbox": [1, 1, 5, 5], "score": 0.5}]})
    with pytest.raises(DataError, match="no instances"):
        evaluate_results(dataclasses.replace(truth, instances=[]), {"det": []})


def test_the_table_shows_what_there_is():
    truth = truth_of(instance(hidden=10))
    results = results_from_truth(truth)
    rows = {
        line.split("  ")[0]: line.split()[-6:] for line in format_table(evaluate_results(truth, results)).splitlines()
    }
    assert rows["%"] == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert rows["Det"] == ["100.0", "100.0", "100.0", "100.0", "-", "-"]
    table = format_table(evaluate_results(truth, {"det": results["det"]}))
    assert "Occlusion accuracy 100.0 over 1 matched detections" in table
    assert table.splitlines()[2].split() == ["Amodal", "Seg", *"------"]
    assert "2 images, 1 detections" in table
