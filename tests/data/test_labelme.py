"""labelme projects to KINS json: what people draw and write there, and what they can get wrong."""

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax import segmentation
from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from data.kins.annotations import read_annotation_file
from data.kins.inmodal_masks import inmodal_masks
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from data.kins.orders import clusters_and_orders
from data.labelme.convert import convert
from tests.data.labelme_project import ALONE, CAR, HEIGHT, VAN, WIDTH, box, content, converted, mask_of, shape


def masks(entry, key):
    return segmentation.decode(segmentation.parse(entry[key], HEIGHT, WIDTH).rle)


def test_numbers_give_orders_and_visible_parts(project):
    car, van, alone = converted(project([CAR, VAN, ALONE]))
    assert [entry["ico_id"] for entry in (car, van, alone)] == [2, 1, 0]
    assert car["oco_id"] == van["oco_id"] != alone["oco_id"]
    assert [entry["category_id"] for entry in (car, van, alone)] == [4, 7, 2]  # KINS' own
    np.testing.assert_array_equal(masks(car, "a_segm"), mask_of(10, 5, 30, 15))
    np.testing.assert_array_equal(masks(car, "i_segm"), mask_of(15, 5, 30, 15))
    assert van["i_segm"] == van["a_segm"]


def test_a_drawn_visible_part_is_taken_and_shapes_of_one_group_are_one_object(project):
    shapes = [
        shape("car", box(10, 5, 20, 15), "2", group=3),
        shape("car", box(20, 5, 30, 15), group=3, visible=False),
        shape("car", box(16, 6, 30, 15), group=3, visible=True),
        shape("van", box(5, 2, 15, 20), "1", group=3),
    ]
    car, van = converted(project(shapes))
    np.testing.assert_array_equal(masks(car, "a_segm"), mask_of(10, 5, 30, 15))
    np.testing.assert_array_equal(masks(car, "i_segm"), mask_of(16, 6, 30, 15))
    assert (car["ico_id"], van["ico_id"]) == (2, 1)


@pytest.mark.parametrize(("flag", "visible"), [(1, True), (1.0, True), (True, True), (0, False), (0.0, False)])
def test_the_flag_is_true_however_it_is_written(project, flag, visible):
    whole, part = shape("car", box(10, 5, 30, 15), group=1), shape("car", box(16, 6, 30, 15), group=1.0)
    (car,) = converted(project([whole, part | {"flags": {"visible": flag}}]))
    assert car["i_area"] == (14 * 9 if visible else 200)


def test_visible_parts_say_the_order_where_there_are_no_numbers(project):
    shapes = [
        shape("car", box(10, 5, 30, 15), group=1),
        shape("car", box(15, 5, 30, 15), group=1, visible=True),
        shape("van", box(5, 2, 15, 20)),
    ]
    car, van = converted(project(shapes))
    assert (car["ico_id"], van["ico_id"]) == (2, 1)


@given(st.permutations(range(5)))
def test_every_order_of_numbers_is_the_order_of_depth(tmp_path_factory, depths):
    folder = tmp_path_factory.mktemp("labelme")
    cv2.imwrite(str(folder / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    corners = [(2 + 6 * i, 3 + i, 12 + 6 * i, 20 + i) for i in range(5)]
    shapes = [shape("car", box(*c), f"Order: {d + 1}") for c, d in zip(corners, depths, strict=True)]
    (folder / "a.json").write_text(json.dumps(content(shapes, "a.png")))
    convert(folder, folder / "out", test_fraction=None)
    entries = json.loads((folder / "out" / ANNOTATION_FILES["2020"]["test"]).read_text())["annotations"]
    rles = [segmentation.encode(mask_of(*c)) for c in corners]
    clusters, orders = clusters_and_orders(rles, depths)
    assert [(e["oco_id"], e["ico_id"]) for e in entries] == list(zip(clusters, orders, strict=True))
    assert [e["i_segm"] for e in entries] == inmodal_masks(rles, clusters, orders)


def test_rectangles_and_painted_masks_are_shapes_too(project):
    patch = np.zeros((6, 8), np.uint8)
    patch[1:, 2:] = 255
    encoded = base64.b64encode(cv2.imencode(".png", patch)[1].tobytes()).decode()
    shapes = [
        shape("car", [[30, 15], [10, 5]], kind="rectangle"),
        shape("van", [[1.0, 20.0], [8.0, 25.0]], kind="mask", mask=encoded),
        shape("van", [[35.0, 26.0], [42.0, 31.0]], kind="mask", mask=encoded),
    ]
    car, van, cut = converted(project(shapes))
    np.testing.assert_array_equal(masks(car, "a_segm"), mask_of(10, 5, 30, 15))
    np.testing.assert_array_equal(masks(van, "a_segm"), mask_of(3, 21, 9, 26))
    np.testing.assert_array_equal(masks(cut, "a_segm"), mask_of(37, 27, 40, 30))


def test_the_command_and_its_list_of_classes(project, dataset, tmp_path):
    folder = project([CAR, VAN], [ALONE], [ALONE, CAR], [VAN])
    labels = tmp_path / "labels.txt"
    labels.write_text("__ignore__\n" + "\n".join(KINS_CLASS_NAMES) + "\n")
    out = tmp_path / "out"
    code, printed, _ = dataset(
        "from-labelme", folder, "--labels", labels, "--out", out, "--test-fraction", 0.25, "--link"
    )
    assert code == 0
    assert "train: 3 images" in printed
    assert "test: 1 images" in printed
    files = {split: read_annotation_file(out / ANNOTATION_FILES["2020"][split]) for split in IMAGE_FOLDERS}
    for split, file in files.items():
        assert file.problems == ()
        assert list(file.categories.values()) == list(KINS_CLASS_NAMES)
        for image in file.images:
            assert image.id == int(image.file_name.removesuffix(".png"))
            assert (out / IMAGE_FOLDERS[split] / image.file_name).resolve() == tmp_path / "images" / image.file_name
    # Another annotator's file of the same images is split alike.
    project([CAR], [CAR], [CAR], [CAR], folder="other")
    assert dataset("from-labelme", tmp_path / "other", "--out", tmp_path / "out2", "--test-fraction", 0.25)[0] == 0
    for split, file in files.items():
        other = read_annotation_file(tmp_path / "out2" / ANNOTATION_FILES["2020"][split])
        assert [image.file_name for image in other.images] == [image.file_name for image in file.images]
    labels.write_text("bus\n")
    code, _, error = dataset("from-labelme", folder, "--labels", labels, "--out", tmp_path / "out3")
    assert code == 1
    assert "000001.json: car (shape 1) is none of the classes bus" in error


def test_windows_paths_and_other_folders(project, tmp_path):
    folder = project([CAR, VAN], imagePath="..\\images\\000001.png")
    assert len(converted(folder)) == 2
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="000001.json: its image .* is none of"):
        convert(folder, tmp_path / "out2", test_fraction=None)
    convert(folder, tmp_path / "out2", test_fraction=None, image_folders=[tmp_path / "moved"])


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (
            [CAR | {"description": ""}, VAN | {"description": "near"}],
            "nothing says which is nearer.*car .shape 1., van",
        ),
        ([CAR, VAN | {"description": "2"}], "van .shape 2. overlap, and both have number 2"),
        ([CAR, VAN | {"description": ""}], "Without a number: van .shape 2."),
        ([shape("car", box(1, 1, 9, 9), visible=True)], "shape 1 is flagged as visible; give it the group_id"),
        ([shape("car", box(1, 1, 9, 9), group=1, visible=True)], "group 1. has a visible part only"),
        (
            [shape("car", box(1, 1, 9, 9), d, group=1) for d in "12"],
            r"different numbers in their descriptions: \[1, 2\]",
        ),
        ([shape("car", [[1, 1], [9, 9]], kind="line")], 'is a "line", which has no area'),
        ([shape("car", [[1, 1], [9, 9], [3, 3]], kind="circle")], "a circle has two points, .*; this has 3"),
        ([shape("car", [[1, 1], [1, 1]], kind="circle")], "nothing of it can be drawn"),
        ([shape("car", [[1, 1], [9, 9]])], "nothing of it can be drawn in the image: polygon of fewer than three"),
        ([shape("car", box(50, 50, 60, 60))], "nothing of it can be drawn"),
        ([shape("car", [[1, 1], [2, float("nan")], [3, 4]])], "points are no list"),
        ([shape("  ", box(1, 1, 9, 9))], "shape 1 has no label"),
        ([shape("a\x1b[2J", box(1, 1, 9, 9))], "shape 1 has no label"),
        ([shape("car", box(1, 1, 9, 9), group="a")], 'group_id is no whole number, but "a"'),
        ([shape("car", box(1, 1, 9, 9), group="1")], 'group_id is no whole number, but "1"'),
        ([shape("car", box(1, 1, 9, 9), group=True)], "group_id is no whole number, but true"),
        *(
            (
                [shape("car", box(1, 1, 9, 9), group=1) | {"flags": {"visible": flag}}],
                f"shape 1 .car.: the flag 'visible' is neither true nor false, but {shown}",
            )
            for flag, shown in (("true", '"true"'), ("0", '"0"'), (2, "2"), (float("nan"), "NaN"), (None, "none"))
        ),
        ([shape("car", [[1, 1], [9, 9]], kind="mask", mask="no png")], "its mask is no PNG image"),
        ([5], "shape 1 is no object"),
        ("none", "has no list `shapes`"),
    ],
)
def test_what_cannot_be_understood_is_named_and_nothing_written(project, tmp_path, shapes, words):
    folder = project(shapes)
    with pytest.raises(DataError, match=r"000001\.json.*" + words):
        convert(folder, tmp_path / "out", test_fraction=None)
    assert not (tmp_path / "out").exists()


def test_an_image_of_another_size_is_another_image(project, tmp_path):
    with pytest.raises(DataError, match=r"000001\.json: imageWidth is 41, but .*000001\.png has 40"):
        convert(project([CAR], imageWidth=41), tmp_path / "out", test_fraction=None)
