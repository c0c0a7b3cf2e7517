"""Result files as other tools write them, and what cannot be scored in them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from amodal_jax.errors import DataError
from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance
from amodal_jax.evaluation.metrics import evaluate_results
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.masks import segmentation

HEIGHT, WIDTH = 40, 60
BOX = (10, 8, 20, 12)  # xywh


def rectangle(x: int, y: int, width: int, height: int) -> segmentation.Rle:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, x : x + width] = True
    return segmentation.encode(mask)


RLE = rectangle(*BOX)
POLYGON = [[10.0, 8.0, 30.0, 8.0, 30.0, 20.0, 10.0, 20.0]]
# Ids and the numbers in the names differ, so that the one taken for the other is noticed.
FILE_NAMES = {7: "000008.png", 8: "000007.png", 9: "street.v1.png", 10: "night.png", 11: "night.jpg"}


def instance(image_id: int) -> AnnotatedInstance:
    return AnnotatedInstance(
        image_id=image_id,
        category_id=4,
        box=tuple(map(float, BOX)),
        amodal_rle=RLE,
        inmodal_rle=rectangle(10, 8, 10, 12),
        occlusion_ratio=0.5,
        is_crowd=False,
    )


TRUTH = AnnotatedImages(
    image_sizes=dict.fromkeys(FILE_NAMES, (HEIGHT, WIDTH)),
    categories={2: "pedestrian", 4: "car"},
    instances=[instance(7), instance(8)],
    file_names=FILE_NAMES,
)


def result(**changes) -> dict:
    """A detection of an image's car; a field that is None is left out."""
    whole = {"image_id": 7, "category_id": 4, "score": 0.5, "bbox": list(BOX), "segmentation": RLE} | changes
    return {key: value for key, value in whole.items() if value is not None}


@pytest.fixture
def read(tmp_path):
    def read(results, kind="amodal") -> dict[str, list[dict]]:
        path = tmp_path / "results.json"
        path.write_text(results if isinstance(results, str) else json.dumps(results))
        return read_results({kind: path}, TRUTH, progress=False)

    return read


def test_what_is_scored_is_kept_in_order_and_nothing_else(read):
    first = result(occluded=0.25, area=1e9, id=3)
    second = result(image_id=8.0, category_id=2, score=1, occluded=True)
    found = read([first, second])
    assert found["amodal"] == [
        {"image_id": 7, "category_id": 4, "score": 0.5, "bbox": list(BOX), "segmentation": RLE, "occluded": 0.25},
        {"image_id": 8, "category_id": 2, "score": 1.0, "bbox": list(BOX), "segmentation": RLE, "occluded": 1.0},
    ]
    assert found["det"] == [
        {key: value for key, value in one.items() if key != "segmentation"} for one in found["amodal"]
    ]
    assert read([first], "inmodal") == {
        "inmodal": [{"image_id": 7, "category_id": 4, "score": 0.5, "segmentation": RLE, "occluded": 0.25}]
    }
    assert read([result(segmentation=None)], "det") == {
        "det": [{"image_id": 7, "category_id": 4, "score": 0.5, "bbox": list(BOX)}]
    }


def test_perfect_files_score_one(tmp_path):
    for kind, field in (("amodal", "amodal_rle"), ("inmodal", "inmodal_rle")):
        found = [result(image_id=one.image_id, segmentation=getattr(one, field), occluded=1) for one in TRUTH.instances]
        (tmp_path / kind).write_text(json.dumps(found))
    files = {kind: tmp_path / kind for kind in ("amodal", "inmodal")}
    metrics = evaluate_results(TRUTH, read_results(files, TRUTH, progress=False))
    figures = [metrics[name] for name in ("det/AP", "amodal/AP", "inmodal/AP", "occlusion_accuracy")]
    assert figures == [1, 1, 1, 1]
    # Each file alone gives what it has.
    alone = evaluate_results(TRUTH, read_results({"inmodal": files["inmodal"]}, TRUTH, progress=False))
    assert alone["inmodal/AP"] == 1
    assert not any(name.startswith(("det/", "amodal/", "occlusion")) for name in alone)


def test_boxes_of_a_file_of_their_own_take_precedence(tmp_path):
    for name, box in (("boxes", [1, 1, 5, 5]), ("masks", list(BOX))):
        (tmp_path / name).write_text(json.dumps([result(bbox=box)]))
    found = read_results({"det": tmp_path / "boxes", "amodal": tmp_path / "masks"}, TRUTH, progress=False)
    assert found["det"][0]["bbox"] == [1, 1, 5, 5]


def test_boxes_are_drawn_around_the_masks_of_a_file_without_any(read, caplog):
    with caplog.at_level(logging.WARNING):
        found = read([result(bbox=None), result(bbox=None, segmentation=[])])
    assert [one["bbox"] for one in found["det"]] == [list(BOX), [0, 0, 0, 0]]
    assert "bbox" not in found["amodal"][0]
    assert "results.json: has no boxes; Det is measured on the boxes around its masks" in caplog.text
    with pytest.raises(DataError, match=r'results\.json: result 1: has no "bbox", which others have'):
        read([result(), result(bbox=None)])


@pytest.mark.parametrize(
    ("fields", "image_id"),
    [
        ({"image_id": "000008.png"}, 7),
        ({"image_id": "000007"}, 8),
        ({"image_id": "testing/image_2/000008.png"}, 7),
        ({"image_id": "D:\\kitti\\000008"}, 7),
        ({"image_id": None, "file_name": "testing/image_2/000007.png"}, 8),
        ({"image_id": 8, "file_name": "000007.png"}, 8),
        ({"image_id": "street.v1"}, 9),
        ({"image_id": "night.jpg"}, 11),
    ],
)
def test_images_are_found_by_number_and_by_name(read, fields, image_id):
    (found,) = read([result(**fields)])["amodal"]
    assert found["image_id"] == image_id


def test_images_in_folders_are_found_by_the_end_of_their_paths(tmp_path):
    names = {1: "cam1/000001.png", 2: "cam2/000001.png", 3: "cam2/000002.png"}
    truth = AnnotatedImages(dict.fromkeys(names, (HEIGHT, WIDTH)), TRUTH.categories, [], names)
    path = tmp_path / "results.json"

    def read(name):
        path.write_text(json.dumps([result(image_id=name)]))
        return read_results({"det": path}, truth, progress=False)["det"][0]["image_id"]

    assert [read(f"/data/{name}") for name in names.values()] == [1, 2, 3]
    assert [read(name.removesuffix(".png").replace("/", "\\")) for name in names.values()] == [1, 2, 3]
    assert read("000002.png") == read("elsewhere/000002") == 3
    with pytest.raises(DataError, match=r'"000001.png" may be any of "cam1/000001.png" .id 1., "cam2/000001.png"'):
        read("000001.png")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (RLE, RLE),
        ({"size": [HEIGHT, WIDTH], "counts": [*segmentation.run_lengths(RLE["counts"]).tolist(), 0, 0, 0]}, RLE),
        ({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH, 0]}, rectangle(0, 0, 0, 0)),
        ({"size": [HEIGHT, WIDTH], "counts": [0.0, 0.0, float(HEIGHT * WIDTH)]}, rectangle(0, 0, 0, 0)),
        ({"size": [HEIGHT, WIDTH], "counts": segmentation.run_lengths(RLE["counts"]).tolist()}, RLE),
        (POLYGON, RLE),
        (POLYGON[0], RLE),
        ([*POLYGON, [1.0, 1.0, 2.0, 2.0]], RLE),  # two points hold no pixel
        ([], rectangle(0, 0, 0, 0)),
        ([[1.0, 1.0]], rectangle(0, 0, 0, 0)),
    ],
)
def test_every_form_of_a_mask(read, form, expected):
    (found,) = read([result(segmentation=form)], "inmodal")["inmodal"]
    assert found["segmentation"] == expected
    assert coco_mask.area(found["segmentation"]) in (0, BOX[2] * BOX[3])


def test_a_false_detection_of_no_pixel_counts_however_it_is_written(read):
    right = [result(image_id=one.image_id, bbox=None) for one in TRUTH.instances]
    figures = []
    for counts in ([HEIGHT * WIDTH], [HEIGHT * WIDTH, 0], [0, 0, HEIGHT * WIDTH]):
        empty = {"size": [HEIGHT, WIDTH], "counts": counts}
        figures.append(evaluate_results(TRUTH, read([result(bbox=None, score=0.9, segmentation=empty), *right])))
    assert figures[0] == figures[1] == figures[2]
    assert figures[0]["det/AP"] < 1


def test_what_reaches_outside_its_image_is_said(read, caplog):
    within = [result(bbox=[-1, -1, WIDTH + 2, HEIGHT + 2])]
    with caplog.at_level(logging.WARNING):
        read(within)
    assert not caplog.text
    # Corners for width and height, and a polygon of a larger picture.
    with caplog.at_level(logging.WARNING):
        read([*within, result(bbox=[30, 20, 50, 30], segmentation=[[20, 10, 90, 10, 90, 30]])])
    assert "the bbox of 1 of 2 results reaches outside its image" in caplog.text
    assert "the segmentation of 1 of 2 results reaches outside its image" in caplog.text
    assert "[x, y, width, height]" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 3}, r"image_id 3 is none of the 5 images .* within 7\.\.11"),
        ({"image_id": 7.5}, 'a whole number as "image_id"; it has 7.5'),
        ({"image_id": True}, 'a whole number as "image_id"; it has true'),
        ({"image_id": None}, 'neither "image_id" nor "file_name"'),
        ({"image_id": "7"}, 'no image of the ground truth is called "7".*ids are numbers, names are text'),
        ({"image_id": "000009.png"}, r'is called "000009\.png"; the nearest is "00000[78]\.png"'),
        ({"image_id": "000008.jpg"}, r'is called "000008\.jpg"; the nearest is "000008\.png"'),
        ({"image_id": "night"}, r'"night" may be any of "night\.png" \(id 10\), "night\.jpg" \(id 11\)'),
        ({"file_name": "000007.png"}, r'image_id 7 is "000008\.png" in .* but file_name is "000007\.png"'),
        ({"category_id": 3}, "category_id 3 is none of the ground truth's: 2 pedestrian, 4 car"),
        ({"category_id": None}, 'whole number as "category_id"; it has none'),
        ({"category_id": "car"}, 'whole number as "category_id"; it has "car"'),
        ({"score": None}, 'finite number as "score"; it has none'),
        ({"score": float("nan")}, 'finite number as "score"; it has NaN'),
        ({"score": 10**400}, 'finite number as "score"; it has 1000'),
        ({"score": "0.5"}, 'finite number as "score"; it has "0.5"'),
        ({"occluded": 1.5}, r'probability within 0\.\.1 as "occluded", or none at all; it has 1\.5'),
        ({"bbox": [1, 2, 3]}, r'\[x, y, width, height\] in pixels as "bbox"; it has \[1, 2, 3\]'),
        ({"bbox": [1, 2, float("inf"), 4]}, "it has .*Infinity"),
        ({"bbox": [30, 20, -5, 4]}, "negative width or height"),
        ({"segmentation": None}, 'run-length code or polygons as "segmentation"; it has none'),
        ({"segmentation": "abc"}, 'it has "abc"'),
        (
            {"segmentation": {"size": [20, 30], "counts": [600]}},
            r"size \[20, 30\], but the image has 40 rows and 60 col",
        ),
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [2400]}}, r"size as \[height, width\]"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [7]}}, "cannot be read: run-length code that does not"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": RLE["counts"][:-2]}}, "cannot be read: run-length"),
        ({"segmentation": [[1, 2, 3, 4, 5, "x"]]}, "cannot be read: polygon that is no list"),
        ({"segmentation": [*POLYGON, [1, 2, 3, 4, 5]]}, "cannot be read: polygon that is no list"),
    ],
)
def test_a_detection_that_cannot_be_scored_is_named(read, changes, message):
    with pytest.raises(DataError, match=rf"results\.json: result 1: .*{message}"):
        read([result(), result(**changes)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no complete json file"),
        (json.dumps([result(), result()])[:-20], "is no complete json file .*; write or copy it again"),
        ("[" * 100_000, "is no complete json file"),
        ([], "is an empty list"),
        (
            {"annotations": [result()]},
            r'no list of results, but an object .*; take the list under its key "annotations"',
        ),
        ('"text"', 'no list of results, but "text"'),
        ([result(), 3], "result 1: is no json object, but 3"),
    ],
)
def test_a_file_that_cannot_be_scored_is_named(read, content, message):
    with pytest.raises(DataError, match=rf"results\.json: .*{message}"):
        read(content)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path, message in ((tmp_path / "absent.json", "there is no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(DataError, match=f"{path}: {message}"):
            read_results({"amodal": Path(path)}, TRUTH, progress=False)
