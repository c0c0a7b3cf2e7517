"""Files in which detections are missing or there twice, as tools of several processes write them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance
from amodal_jax.evaluation.metrics import evaluate_results
from amodal_jax.evaluation.results_completeness import check_completeness
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.masks import segmentation

SIZE = (40, 60)
IMAGES = range(1, 9)


def rectangle(x: int, y: int, width: int, height: int) -> segmentation.Rle:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return segmentation.encode(mask)


def box_of(image: int) -> tuple[int, int, int, int]:
    return (3 + image, 5, 20, 12 + image)


def instance(image_id: int, is_crowd=False) -> AnnotatedInstance:
    mask = rectangle(*box_of(image_id))
    return AnnotatedInstance(
        image_id=image_id,
        category_id=4,
        box=tuple(map(float, box_of(image_id))),
        amodal_rle=mask,
        inmodal_rle=mask,
        occlusion_ratio=0.0,
        is_crowd=is_crowd,
    )


# Images 101 and 102 have nothing to be found.
TRUTH = AnnotatedImages(
    image_sizes=dict.fromkeys([*IMAGES, 101, 102], SIZE),
    categories={2: "pedestrian", 4: "car"},
    instances=[*map(instance, IMAGES), instance(102, is_crowd=True)],
    file_names={one: f"{one:06d}.png" for one in [*IMAGES, 101, 102]},
)


def found(image_id: int, **changes) -> dict:
    box = box_of(image_id)
    one = {"image_id": image_id, "category_id": 4, "score": 0.9 - image_id / 100, "bbox": [float(side) for side in box]}
    return one | {"segmentation": rectangle(*box)} | changes


WHOLE = [found(image) for image in IMAGES]


@pytest.fixture
def check(tmp_path):
    """Counts what is odd of files by kind, with the average precision of the amodal masks."""

    def check(files: dict[str, list[dict]], *, strict=False):
        paths = {kind: tmp_path / f"{kind}.json" for kind in files}
        for kind, path in paths.items():
            path.write_text(json.dumps(files[kind]))
        results = read_results(paths, TRUTH, progress=False)
        counts = check_completeness(paths, results, TRUTH, strict=strict)
        return counts, evaluate_results(TRUTH, results)["amodal/AP"]

    return check


def test_whole_files_are_taken_as_they_are(check, caplog):
    with caplog.at_level(logging.WARNING):
        counts, precision = check({"amodal": WHOLE, "inmodal": WHOLE}, strict=True)
    assert precision == 1
    assert counts == {
        "repeated_detections": {"amodal": 0, "inmodal": 0},
        "images_without_detections": {"amodal": 0, "inmodal": 0},
    }
    assert not caplog.text


def test_images_that_were_written_twice(check, caplog):
    half = [one for one in WHOLE if one["image_id"] % 2]
    with caplog.at_level(logging.WARNING):
        counts, precision = check({"amodal": WHOLE + half})
    assert precision < 1
    assert counts["repeated_detections"] == {"amodal": 4}
    assert "amodal.json: 4 of 12 results have the image, class, score and place of one before" in caplog.text
    assert "the first of them in place 8" in caplog.text
    with pytest.raises(DataError, match=r"amodal\.json: 4 of 12 results have the image"):
        check({"amodal": WHOLE + half}, strict=True)


def test_images_of_which_nothing_is_there(check, caplog):
    part = [one for one in WHOLE if one["image_id"] < 4]
    with caplog.at_level(logging.WARNING):
        counts, precision = check({"amodal": part, "inmodal": WHOLE})
    assert precision < 0.5
    assert counts["images_without_detections"] == {"amodal": 5, "inmodal": 0}
    assert "amodal.json: 5 of 8 images with objects have no result (000004.png, 000005.png, 000006.png, ...)" in (
        caplog.text
    )
    with pytest.raises(DataError, match=r"amodal\.json: 5 of 8 images with objects have no result"):
        check({"amodal": part, "inmodal": WHOLE}, strict=True)


def test_all_that_is_odd_is_refused_at_once(check):
    files = {"det": WHOLE + WHOLE[:1], "amodal": WHOLE, "inmodal": WHOLE[1:]}
    with pytest.raises(DataError, match=r"det\.json: 1 of 9 .*; .*inmodal\.json: 1 of 8 images .* \(000001\.png\)"):
        check(files, strict=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_id": "cam/000003.png"},
        {"image_id": 3.0},
        {"score": 0.87 + 1e-7},
        {"occluded": 0.3},
        {"bbox": [x + 1e-4 for x in box_of(3)]},
        {"segmentation": [[6, 5, 26, 5, 26, 20, 6, 20]]},
        {
            "segmentation": {
                "size": list(SIZE),
                "counts": segmentation.run_lengths(rectangle(6, 5, 20, 14)["counts"]).tolist(),
            }
        },
    ],
)
def test_the_same_in_another_writing_or_from_another_machine(check, changes):
    counts, _ = check({"amodal": [*WHOLE, found(3) | changes]})
    assert counts["repeated_detections"] == {"amodal": 1}


@pytest.mark.parametrize(
    "changes", [{"category_id": 2}, {"score": 0.8}, {"bbox": [9, 5, 20, 15]}, {"image_id": 5, "score": 0.87}]
)
def test_others_are_no_repetition(check, changes):
    counts, _ = check({"amodal": [*WHOLE, found(3) | changes]}, strict=True)
    assert counts["repeated_detections"] == {"amodal": 0}


def test_masks_alone_are_compared_by_their_place(check):
    bare = [{key: value for key, value in one.items() if key != "bbox"} for one in WHOLE]
    counts, _ = check({"amodal": bare + bare})
    assert counts["repeated_detections"] == {"amodal": 8}
    assert check({"inmodal": WHOLE, "amodal": bare}, strict=True)[0]["repeated_detections"] == {
        "inmodal": 0,
        "amodal": 0,
    }


@given(st.lists(st.sampled_from(IMAGES), min_size=1), st.randoms())
def test_as_many_repetitions_as_copies_in_any_order(images, random):
    shuffled = [found(image) for image in images]
    random.shuffle(shuffled)
    counts = check_completeness({"amodal": Path("a.json")}, {"amodal": shuffled}, TRUTH, strict=False)
    assert counts["repeated_detections"]["amodal"] == len(images) - len(set(images))
    assert counts["images_without_detections"]["amodal"] == len(IMAGES) - len(set(images))
