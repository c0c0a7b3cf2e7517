"""Average precision by occlusion: beside COCOeval as VRSP and AISFormer have changed it, and beside slow loops."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance
from amodal_jax.evaluation.by_occlusion import HIDING_DEGREES, VISIBLE_RATIOS, of_degree
from amodal_jax.evaluation.metrics import KINDS, evaluate_results, results_from_truth
from amodal_jax.masks import segmentation
from tests.helpers.slow_evaluation import Thing, average_precision

SIZE = (12, 16)
CATEGORIES = {4: "car", 2: "pedestrian"}


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def things(scores, crowds, smallest: int):
    """Rectangles of which some columns are hidden, on few places, so that many overlap and many are alike."""
    return st.builds(
        lambda image, category, x, y, width, height, hidden, score, is_crowd: Thing(
            image,
            category,
            rectangle(x, y, width, height),
            rectangle(x, y, max(width - hidden, 0), height),
            score,
            is_crowd,
        ),
        st.integers(1, 2),
        st.sampled_from(sorted(CATEGORIES)),
        st.integers(0, 6),
        st.integers(0, 4),
        st.integers(smallest, 8),
        st.integers(4, 6),
        st.integers(0, 5),
        scores,
        crowds,
    )


instance_lists = st.lists(things(st.just(0.0), st.booleans(), 3), min_size=1, max_size=7)
detection_lists = st.lists(things(st.sampled_from([0.2, 0.5, 0.9]), st.just(False), 0), max_size=9)


# A detection between two cars, and one on the first: of two that overlap alike COCOeval takes the later one.
BETWEEN = (
    [Thing(1, 4, rectangle(x, 0, 8, 4), rectangle(x, 0, 4, 4)) for x in (0, 2)],
    [Thing(1, 4, rectangle(x, 0, 8, 4), rectangle(x, 0, 4, 4), score) for x, score in ((1, 0.9), (0, 0.5))],
)


def truth_of(instances: list[Thing]) -> AnnotatedImages:
    annotated = []
    for one in instances:
        x1, y1, x2, y2 = segmentation.bounding_box(segmentation.encode(one.whole))
        annotated.append(
            AnnotatedInstance(
                image_id=one.image,
                category_id=one.category,
                box=(x1, y1, x2 - x1, y2 - y1),
                amodal_rle=segmentation.encode(one.whole),
                inmodal_rle=segmentation.encode(one.visible),
                occlusion_ratio=one.hidden,
                is_crowd=one.is_crowd,
            )
        )
    return AnnotatedImages({1: SIZE, 2: SIZE}, CATEGORIES, annotated)


def results_of(detections: list[Thing]) -> dict[str, list[dict]]:
    results = {kind: [] for kind in KINDS}
    for one in detections:
        whole = segmentation.encode(one.whole)
        x1, y1, x2, y2 = segmentation.bounding_box(whole)
        common = {"image_id": one.image, "category_id": one.category, "score": one.score}
        results["det"].append(common | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
        results["amodal"].append(common | {"segmentation": whole})
        results["inmodal"].append(common | {"segmentation": segmentation.encode(one.visible)})
    return results


def changed_cocoeval(instances: list[Thing], detections: list[Thing], kind: str) -> dict[str, float]:
    """pycocotools' own code with the two changes of VRSP's and AISFormer's: what areas are, and their ranges."""
    annotations = [
        {
            "id": number,
            "image_id": one.image,
            "category_id": one.category,
            "bbox": [0, 0, 1, 1],
            "segmentation": segmentation.encode(one.visible if kind == "inmodal" else one.whole),
            "area": 1 - one.hidden,
            "iscrowd": int(one.is_crowd),
        }
        for number, one in enumerate(instances, start=1)
        if kind != "inmodal" or one.visible.any()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = {
            "info": {},
            "images": [{"id": image, "height": SIZE[0], "width": SIZE[1]} for image in (1, 2)],
            "categories": [{"id": one} for one in CATEGORIES],
            "annotations": annotations,
        }
        expected.createIndex()
        found = expected.loadRes(results_of(detections)[kind])
        for annotation, one in zip(found.dataset["annotations"], detections, strict=True):
            annotation["area"] = 1 - one.hidden
        evaluation = COCOeval(expected, found, "segm")
        evaluation.params.areaRng = [[0, 1.0], [0, 0.85], [0, 0.75], [0, 0.6]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(VISIBLE_RATIOS, evaluation.stats[3:6], strict=True))


@settings(max_examples=60, deadline=None)
@given(instance_lists, detection_lists.filter(len))
@example(*BETWEEN)
def test_visible_ratios_give_what_the_changed_cocoeval_gives(instances, detections):
    metrics = evaluate_results(truth_of(instances), results_of(detections))
    for kind in ("amodal", "inmodal"):
        for ratio, value in changed_cocoeval(instances, detections, kind).items():
            expected = None if value < 0 else pytest.approx(value, abs=1e-12)
            assert metrics.get(f"{kind}/AP_visible_ratio/{ratio:g}") == expected


@settings(max_examples=40, deadline=None)
@given(instance_lists, detection_lists)
@example(*BETWEEN)
@example(  # the second detection finds its car taken, and takes that which does not count
    [
        Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 3, 4)),
        Thing(1, 4, rectangle(0, 0, 7, 4), rectangle(0, 0, 7, 4)),
    ],
    [Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 8, 4), score) for score in (0.9, 0.5, 0.2)],
)
def test_degrees_of_hiding_give_what_slow_loops_give(instances, detections):
    metrics = evaluate_results(truth_of(instances), results_of(detections))
    for mask, kind in (("whole", "amodal"), ("visible", "inmodal")):
        seen = [one for one in instances if kind == "amodal" or one.visible.any()]
        for degree in HIDING_DEGREES:

            def is_of(one: Thing, degree=degree) -> bool:
                return bool(of_degree(np.array([one.hidden]), degree)[0])

            value = average_precision(
                seen, detections, mask, counts=is_of, errs=lambda one, is_of=is_of: np.isnan(one.hidden) or is_of(one)
            )
            expected = None if value is None else pytest.approx(value, abs=1e-9)
            assert metrics.get(f"{kind}/AP_by_hiding/{degree}") == expected


def test_bounds_of_degrees_belong_to_the_lesser_one_however_they_were_rounded():
    shares = np.array([0.0, 0.05, 0.0501, 0.25, 1 - 0.75, 0.5, 0.75, 1.0])
    expected = ["0_to_5", "0_to_5", "5_to_25", "5_to_25", "5_to_25", "25_to_50", "50_to_75", "75_to_100"]
    for values in (shares, shares.astype(np.float32).astype(float)):
        assert [[name for name in HIDING_DEGREES if of_degree(values, name)[i]] for i in range(8)] == [
            [name] for name in expected
        ]


@settings(max_examples=30, deadline=None)
@given(instance_lists)
def test_the_truth_as_prediction_scores_one_at_every_degree(instances):
    regular = [one for one in instances if not one.is_crowd and one.visible.any()]
    if not regular:
        return
    truth = truth_of(regular)
    metrics = evaluate_results(truth, results_from_truth(truth))
    degrees = {
        degree
        for degree in HIDING_DEGREES
        for one in truth.instances
        if of_degree(np.array([one.occlusion_ratio]), degree)[0]
    }
    figures = {name: value for name, value in metrics.items() if "AP_by_hiding" in name or "AP_visible" in name}
    assert set(figures.values()) == {1.0}
    assert {name.rpartition("/")[2] for name in figures if "hiding" in name} == degrees


def test_a_false_detection_counts_where_its_own_masks_say():
    car = Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 4, 4))  # half hidden
    hit = Thing(1, 4, car.whole, car.visible, 0.5)
    for columns, of_its_degree in ((4, True), (8, False)):
        false = Thing(1, 4, rectangle(0, 6, 8, 4), rectangle(0, 6, columns, 4), 0.9)
        metrics = evaluate_results(truth_of([car]), results_of([false, hit]))
        assert metrics["amodal/AP_by_hiding/25_to_50"] == pytest.approx(0.5 if of_its_degree else 1.0)
        assert metrics["amodal/AP"] == pytest.approx(0.5)


def test_without_both_masks_of_one_list_of_detections_there_is_no_share_and_no_figure():
    car = Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 4, 4))
    found = [Thing(1, 4, car.whole, car.visible, score) for score in (0.9, 0.5)]
    results = results_of(found)
    for some in (
        {"amodal": results["amodal"]},
        {"amodal": results["amodal"], "inmodal": results["inmodal"][::-1]},
    ):
        assert not [name for name in evaluate_results(truth_of([car]), some) if "AP_" in name]
    other_boxes = evaluate_results(truth_of([car]), results | {"det": results["det"][:1]})
    assert "amodal/AP_by_hiding/25_to_50" in other_boxes
    assert "det/AP_by_hiding/25_to_50" not in other_boxes
