"""What is wrong in annotation files: each kind of problem, and what becomes of the instance."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from amodal_jax import segmentation
from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError, ImageError
from data.image_files import checked_size
from data.kins import problems as kinds
from data.kins.annotations import (
    ImageRecord,
    categories,
    check_images_exist,
    find_annotation_files,
    read_annotation_file,
)
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from data.kins.records import RecordMaker
from data.kins.writer import KinsAnnotation, write_annotations
from tests.test_image_framing import with_orientation

DUMMY_DATA = Path(__file__).parents[2] / "data" / "kins" / "dummy_data"
HEIGHT, WIDTH = 40, 60
CATEGORIES = dict(zip((1, 2, 4, 5, 6, 7, 8), KINS_CLASS_NAMES, strict=True))


def rectangle(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def good_annotation(**changes):
    """Amodal [10, 10, 30, 30], of which the left half is visible."""
    return {
        "id": 7,
        "image_id": 1,
        "category_id": 4,
        "a_bbox": [10, 10, 20, 20],
        "a_segm": [rectangle(10, 10, 30, 30)],
        "i_bbox": [10, 10, 10, 20],
        "i_segm": [rectangle(10, 10, 20, 30)],
        "oco_id": 3,
        "ico_id": 2,
        **changes,
    }


@pytest.fixture
def record_of(tmp_path):
    """Makes the record of one image with the given annotation: its objects, and the kinds of problems."""

    def make(annotation, height=HEIGHT, width=WIDTH):
        path = tmp_path / "picture.png"
        cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        image = ImageRecord(1, path.name, height, width, (annotation,))
        record, problems = RecordMaker("2020", {4: 2}, tmp_path)(image)
        return record["objects"], [kind for kind, _ in problems]

    return make


def box_of(instance, field="amodal_bbox"):
    y1, x1, y2, x2 = instance[field] * [HEIGHT, WIDTH, HEIGHT, WIDTH]
    return pytest.approx((x1, y1, x2, y2))


def mask_of(instance, field):
    return segmentation.decode({"size": [HEIGHT, WIDTH], "counts": instance[field]})


def test_a_good_annotation_has_no_problem(record_of):
    (instance,), problems = record_of(good_annotation())
    assert problems == []
    assert instance["label"] == 2
    assert instance["occlusion_ratio"] == 0.5
    assert (instance["cluster_id"], instance["occlusion_order"]) == (3, 2)


@pytest.mark.parametrize(
    ("a_segm", "expected"),
    [
        (None, [kinds.AMODAL_MISSING]),
        ([], [kinds.AMODAL_EMPTY]),
        ([[1, 1, 2, 2]], [f"amodal mask: {segmentation.POLYGON_TOO_SHORT}", kinds.AMODAL_EMPTY]),
        ([rectangle(80, 5, 90, 9)], [f"amodal mask: {segmentation.BEYOND_IMAGE}", kinds.AMODAL_EMPTY]),
        ({"size": [40, 60], "counts": "nonsense"}, [f"amodal mask: {segmentation.RLE_UNREADABLE}", kinds.AMODAL_EMPTY]),
        ({"size": [9, 9], "counts": [81]}, [f"amodal mask: {segmentation.SIZE_DIFFERS}", kinds.AMODAL_EMPTY]),
        ({"size": [40, 60], "counts": [2400]}, [kinds.AMODAL_EMPTY]),
    ],
)
def test_without_an_amodal_mask_the_instance_is_left_out(record_of, a_segm, expected):
    objects, problems = record_of(good_annotation(a_segm=a_segm))
    assert objects == []
    assert problems == expected
    counts = kinds.ProblemCounts()
    counts.add((kind, 7) for kind in problems)
    assert counts.left_out() == 1


def test_a_polygon_that_is_too_short_leaves_the_others(record_of):
    (instance,), problems = record_of(good_annotation(a_segm=[[1, 1, 2, 2], rectangle(10, 10, 30, 30)]))
    assert problems == [f"amodal mask: {segmentation.POLYGON_TOO_SHORT}"]
    assert mask_of(instance, "amodal_rle").sum() == 400


@pytest.mark.parametrize(
    ("i_segm", "expected"),
    [
        (None, [kinds.INMODAL_MISSING]),
        ([], [kinds.INMODAL_MISSING]),
        ([[1, 1, 2, 2]], [f"inmodal mask: {segmentation.POLYGON_TOO_SHORT}", kinds.INMODAL_UNREADABLE]),
        (
            {"size": [40, 60], "counts": [1]},
            [f"inmodal mask: {segmentation.RLE_UNREADABLE}", kinds.INMODAL_UNREADABLE],
        ),
    ],
)
def test_without_an_inmodal_mask_the_amodal_one_serves_as_both(record_of, i_segm, expected):
    (instance,), problems = record_of(good_annotation(i_segm=i_segm, i_bbox=[10, 10, 20, 20]))
    assert problems == expected
    assert instance["inmodal_rle"] == instance["amodal_rle"]
    assert instance["occlusion_ratio"] == 0


def test_an_inmodal_mask_without_a_pixel_is_wholly_hidden(record_of):
    (instance,), problems = record_of(good_annotation(i_segm={"size": [40, 60], "counts": [2400]}))
    assert problems == [kinds.INMODAL_EMPTY]
    assert instance["occlusion_ratio"] == 1
    assert not instance["inmodal_crop"].any()
    assert instance["inmodal_bbox"].tolist() == [0, 0, 0, 0]


def test_an_inmodal_mask_outside_the_amodal_one_is_kept(record_of):
    (instance,), problems = record_of(good_annotation(i_segm=[rectangle(5, 10, 20, 30)], i_bbox=[5, 10, 15, 20]))
    assert problems == [kinds.INMODAL_OUTSIDE]
    assert mask_of(instance, "inmodal_rle").sum() == 300
    assert instance["occlusion_ratio"] == 0.5


@pytest.mark.parametrize(
    ("a_bbox", "expected"),
    [
        (None, kinds.BOX_UNREADABLE),
        ([10, 10, 20], kinds.BOX_UNREADABLE),
        ([10, 10, float("nan"), 20], kinds.BOX_UNREADABLE),
        ([10, 10, 0.5, 20], kinds.BOX_UNDER_PIXEL),
        ([10, 10, 20, 22.5], kinds.BOX_DISAGREES),
        ([7, 10, 23, 20], kinds.BOX_DISAGREES),
    ],
)
def test_the_masks_box_replaces_a_bad_one(record_of, a_bbox, expected):
    (instance,), problems = record_of(good_annotation(a_bbox=a_bbox))
    assert problems == [f"amodal {expected}"]
    assert box_of(instance) == (10, 10, 30, 30)


def test_a_box_near_its_masks_is_kept_and_cut_off_at_the_border(record_of):
    (instance,), problems = record_of(good_annotation(a_bbox=[9.5, 10, 21.25, 20]))
    assert problems == []
    assert box_of(instance) == (9.5, 10, 30.75, 30)
    changes = {"a_segm": [rectangle(40, 10, 60, 30)], "i_segm": [rectangle(40, 10, 60, 30)], "i_bbox": [40, 10, 20, 20]}
    (instance,), problems = record_of(good_annotation(a_bbox=[40, 10, 21.5, 20], **changes))
    assert problems == []
    assert box_of(instance) == (40, 10, 60, 30)


@pytest.mark.parametrize(
    ("iscrowd", "is_crowd"), [(0, False), (0.0, False), (False, False), (1, True), (1.0, True), (True, True)]
)
def test_a_crowd_is_what_it_says_however_it_is_written(record_of, iscrowd, is_crowd):
    (instance,), problems = record_of(good_annotation(iscrowd=iscrowd))
    assert problems == []
    assert instance["is_crowd"] is is_crowd


@pytest.mark.parametrize("iscrowd", ["0", "1", "false", "true", "", 2, -1, 0.5, float("nan"), None, [], [1]])
def test_what_says_nothing_of_a_crowd_is_a_problem_and_no_crowd(record_of, iscrowd):
    (instance,), problems = record_of(good_annotation(iscrowd=iscrowd))
    assert problems == [kinds.CROWD_UNREADABLE]
    assert instance["is_crowd"] is False


def test_whole_numbers_are_read_however_they_are_written(record_of):
    (instance,), problems = record_of(good_annotation(oco_id=3.0, ico_id=2.0))
    assert problems == []
    assert (instance["cluster_id"], instance["occlusion_order"]) == (3, 2)
    assert {type(instance[key]) for key in ("cluster_id", "occlusion_order")} == {int}


@pytest.mark.parametrize("order", [None, "first", 2**63, "2", 1.5, True, float("nan")])
def test_an_order_that_is_none_is_minus_one(record_of, order):
    (instance,), problems = record_of(good_annotation(ico_id=order))
    assert problems == [kinds.ORDER_MISSING]
    assert (instance["cluster_id"], instance["occlusion_order"]) == (-1, -1)


def test_an_image_of_another_size_keeps_its_own(record_of):
    (instance,), problems = record_of(good_annotation(), height=HEIGHT + 5)
    assert problems == [kinds.IMAGE_SIZE]
    assert box_of(instance) == (10, 10, 30, 30)


def test_every_kind_of_problem_has_a_consequence_and_a_line():
    counts = kinds.ProblemCounts()
    counts.add((kind, identifier) for kind in kinds.CONSEQUENCES for identifier in range(7))
    for problem in counts.to_json():
        assert problem["count"] == 7
        assert problem["first_ids"] == [0, 1, 2, 3, 4]
        line = kinds.describe(problem)
        assert line.startswith(f"7 x {problem['kind']}")
        assert line.endswith("0, 1, 2, 3, 4, ...)")


@pytest.fixture
def read_changed(tmp_path):
    """Reads the training annotations after a change: of 2020 unless told otherwise."""

    def read(edit, release="2020", split="train"):
        folder = tmp_path / "manual"
        shutil.copytree(DUMMY_DATA, folder, dirs_exist_ok=True)
        path = folder / ANNOTATION_FILES[release][split]
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
        file = read_annotation_file(path)
        check_images_exist(file, folder / IMAGE_FOLDERS[split])
        return file

    return read


def test_annotations_of_what_is_not_listed_are_problems(read_changed):
    def spoil(content):
        content["annotations"][0]["image_id"] = 99
        content["annotations"][1]["category_id"] = 99
        content["annotations"][3]["id"] = content["annotations"][2]["id"]

    file = read_changed(spoil)
    assert file.problems == ((kinds.UNKNOWN_IMAGE, 1), (kinds.UNKNOWN_CATEGORY, 2), (kinds.REPEATED_ID, 3))
    assert sum(len(image.annotations) for image in file.images) == 7


def test_ids_that_a_table_made_fractions_of_are_whole(read_changed):
    def spoil(content):
        for entry in (*content["images"], *content["annotations"], *content["categories"]):
            entry |= {key: float(value) for key, value in entry.items() if isinstance(value, int)}

    file = read_changed(spoil)
    assert file.problems == ()
    assert {type(identifier) for identifier in (*file.categories, *(image.id for image in file.images))} == {int}
    for image in file.images:
        assert {type(value) for value in image.to_json().values()} == {int, str}
        for annotation in image.annotations:
            assert {type(annotation[key]) for key in ("id", "image_id", "category_id")} == {int}


@pytest.mark.parametrize(
    ("release", "edit", "words"),
    [
        (
            "2020",
            lambda c: c["annotations"][2].update(id="3"),
            "annotation 2 has no whole number under 'id', but \"3\"",
        ),
        (
            "2020",
            lambda c: c["annotations"][2].update(id=True),
            "annotation 2 has no whole number under 'id', but true",
        ),
        ("2020", lambda c: c["images"][1].update(file_name="a\x1b/1.png"), "as the name of its image"),
        ("2020", lambda c: c.pop("images"), "'images'"),
        ("2020", lambda c: c.pop("categories"), "'categories'"),
        ("2020", lambda c: c.update(annotations="none"), "'annotations'"),
        ("2020", lambda c: c["annotations"].clear(), "the split is empty"),
        ("2020", lambda c: c["images"].clear(), "the split is empty"),
        ("2020", lambda c: c["images"][1].pop("width"), "image 1 has no whole number under 'width'"),
        ("2020", lambda c: c["images"][1].pop("file_name"), "'file_name'"),
        ("2020", lambda c: c["images"][1].update(id=0), "two images have the id 0"),
        ("2020", lambda c: c["images"][1].update(id=2**63), "image 1 has 9223372036854775808 under 'id'"),
        ("2020", lambda c: c["annotations"][2].update(id=2**63), "annotation 2 has 9223372036854775808 under 'id'"),
        ("2020", lambda c: c["annotations"][2].pop("image_id"), "annotation 2 has no whole number under 'image_id'"),
        ("2020", lambda c: c["annotations"][2].update(category_id="car"), "'category_id'"),
        ("2020", lambda c: [a.pop("i_segm") for a in c["annotations"]], "'i_segm'"),
        ("2019", lambda c: [a.pop("inmodal_seg") for a in c["annotations"]], "'inmodal_seg'"),
        ("2019", lambda c: [(a.pop("inmodal_seg"), a.pop("segmentation")) for a in c["annotations"]], "'a_segm'"),
        ("2020", lambda c: c["categories"].append({"id": 4, "name": "bus"}), "two categories"),
        ("2020", lambda c: c["categories"][0].pop("name"), "has no name"),
        ("2020", lambda c: c["images"].append({"id": 9, "file_name": "9.png", "width": 9, "height": 9}), "9.png"),
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error_that_says_why(read_changed, release, edit, words):
    with pytest.raises(DataError, match=ANNOTATION_FILES[release]["train"]) as error:
        read_changed(edit, release)
    assert words in str(error.value)


@pytest.mark.parametrize("content", [b"", b'{"images": [', b"[]", b"\xff\xfe", b"[" * 200_000])
def test_a_file_that_is_no_whole_json_is_an_error(tmp_path, content):
    path = tmp_path / "update_train_2020.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"update_train_2020\.json"):
        read_annotation_file(path)


def test_classes_are_contiguous_and_the_empty_rider_is_none(read_changed):
    files = {split: read_changed(lambda content: None, split=split) for split in ("train", "test")}
    assert "rider" in files["train"].categories.values()
    assert categories(files) == CATEGORIES


def test_a_rider_with_an_instance_is_a_class(read_changed):
    files = {
        "train": read_changed(lambda content: content["annotations"][0].update(category_id=3)),
        "test": read_changed(lambda content: None, split="test"),
    }
    assert categories(files) == CATEGORIES | {3: "rider"}


def test_categories_must_be_the_same_in_both_splits(read_changed):
    files = {
        "train": read_changed(lambda content: None),
        "test": read_changed(lambda content: content["categories"].pop(), split="test"),
    }
    with pytest.raises(DataError, match="differ"):
        categories(files)


def test_the_release_of_2020_is_read_where_both_are(tmp_path):
    assert find_annotation_files(DUMMY_DATA)["test"].name == "update_test_2020.json"
    assert find_annotation_files(DUMMY_DATA, "2019")["test"].name == "instances_val.json"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_size_of_an_image_is_read_and_its_end_looked_for(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (31, 47, 3), np.uint8))
    assert checked_size(path) == (31, 47)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ImageError, match=f"picture{suffix}.*truncated"):
        checked_size(path)


def test_an_image_that_is_stored_turned_is_an_error(tmp_path):
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.zeros((31, 47, 3), np.uint8))
    upright = path.read_bytes()
    path.write_bytes(with_orientation(upright, 1))
    assert checked_size(path) == (31, 47)
    path.write_bytes(with_orientation(upright, 6))
    with pytest.raises(ImageError, match=r"photo\.jpg: is stored turned \(EXIF orientation 6\)"):
        checked_size(path)


def test_what_is_no_image_is_an_error(tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(ImageError, match="no PNG or JPEG"):
        checked_size(tmp_path / "notes.png")
    with pytest.raises(ImageError, match=r"none\.png"):
        checked_size(tmp_path / "none.png")


def annotation(**changes):
    mask = [rectangle(10, 10, 30, 30)]
    fields = {"id": 1, "image_id": 5, "class_name": "van", "amodal": mask, "inmodal": mask}
    return KinsAnnotation(**{**fields, "cluster_id": 1, "occlusion_order": 0, **changes})


IMAGES = [{"id": 5, "file_name": "5.png", "width": WIDTH, "height": HEIGHT}]


def test_writer_gives_kins_classes_their_own_ids(tmp_path):
    path = tmp_path / "made" / "update_train_2020.json"
    write_annotations(path, IMAGES, [annotation()], KINS_CLASS_NAMES)
    content = json.loads(path.read_text())
    assert {entry["name"]: entry["id"] for entry in content["categories"]}["misc"] == 8
    (written,) = content["annotations"]
    assert written["category_id"] == 7
    assert (written["a_bbox"], written["a_area"]) == ([10, 10, 20, 20], 400)
    write_annotations(path, IMAGES, [annotation(class_name="cup")], ["cup", "plate"])
    assert [entry["id"] for entry in json.loads(path.read_text())["categories"]] == [1, 2]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("changes", [{"image_id": 6}, {"class_name": "bus"}, {"amodal": []}])
def test_writer_refuses_what_the_builder_could_not_read(tmp_path, changes):
    with pytest.raises(DataError, match="annotation 1"):
        write_annotations(tmp_path / "train.json", IMAGES, [annotation(**changes)], KINS_CLASS_NAMES)
    assert list(tmp_path.iterdir()) == []
