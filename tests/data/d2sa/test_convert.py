"""D2SA and COCOA-cls json to KINS json, on a made-up pair of images."""

import json

import cv2
import numpy as np
import pytest

from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from data.d2sa.convert import convert
from data.kins.annotations import read_annotation_file
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS

HEIGHT, WIDTH = 30, 40


def rle(x1, y1, x2, y2):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return segmentation.encode(mask)


def annotation(identifier, image_id, category_id, amodal, visible=None, invisible=None):
    x1, y1, x2, y2 = amodal
    fields = {
        "id": identifier,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle(*amodal),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        "occlude_rate": 0.5 if visible or invisible else 0,
    }
    if visible:
        fields["visible_mask"] = rle(*visible)
    if invisible:
        fields["invisible_mask"] = rle(*invisible)
    return fields


def content(*numbers):
    """An annotation file: on each image a bottle hides the left of a box; one more box stands apart."""
    annotations = []
    for number in numbers:
        annotations += [
            annotation(10 * number, number, 7, (10, 5, 30, 15), visible=(15, 5, 30, 15), invisible=(10, 5, 15, 15)),
            annotation(10 * number + 1, number, 9, (5, 2, 15, 20)),
            annotation(10 * number + 2, number, 7, (32, 20, 38, 26)),
        ]
    return {
        "images": [
            {"id": number, "file_name": f"D2S_{number}.jpg", "width": WIDTH, "height": HEIGHT} for number in numbers
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "box", "supercategory": "x"}, {"id": 9, "name": "bottle"}],
        "info": {},
        "licenses": [],
    }


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "d2sa"
    (folder / "images").mkdir(parents=True)
    for number in range(1, 6):
        cv2.imwrite(str(folder / "images" / f"D2S_{number}.jpg"), np.full((HEIGHT, WIDTH, 3), number, np.uint8))
    (folder / "training.json").write_text(json.dumps(content(1, 2, 3)))
    (folder / "validation.json").write_text(json.dumps(content(4, 5)))
    return folder


def read(out, split):
    return json.loads((out / ANNOTATION_FILES["2020"][split]).read_text())


def test_two_files_become_the_splits_with_orders_found(source, tmp_path, dataset):
    out = tmp_path / "out"
    files = [source / "training.json", source / "validation.json"]
    code, printed, error = dataset("from-d2sa", *files, "--images", source / "images", "--out", out, "--workers", 1)
    assert code == 0, error
    assert "train: 3 images, 9 instances" in printed
    assert "test: 2 images, 6 instances" in printed
    assert "2 classes: box, bottle" in printed
    assert "nothing left open" in printed
    train = read(out, "train")
    assert {entry["name"]: entry["id"] for entry in train["categories"]} == {"box": 7, "bottle": 9}
    behind, front, apart = train["annotations"][:3]
    assert [entry["id"] for entry in (behind, front, apart)] == [10, 11, 12]
    assert [entry["ico_id"] for entry in (behind, front, apart)] == [2, 1, 0]
    assert behind["oco_id"] == front["oco_id"] != apart["oco_id"]
    assert behind["a_segm"] == rle(10, 5, 30, 15)
    assert behind["i_segm"] == rle(15, 5, 30, 15)
    assert front["i_segm"] == front["a_segm"]
    for split, numbers in (("train", (1, 2, 3)), ("test", (4, 5))):
        assert read_annotation_file(out / ANNOTATION_FILES["2020"][split]).release == "2020"
        for number in numbers:
            copy = out / IMAGE_FOLDERS[split] / f"D2S_{number}.jpg"
            assert copy.read_bytes() == (source / "images" / copy.name).read_bytes()


def test_what_is_hidden_says_what_is_visible(source, tmp_path):
    changed = content(1, 2, 3)
    for entry in changed["annotations"][3:]:
        entry.pop("visible_mask", None)
    (source / "training.json").write_text(json.dumps(changed))
    convert([source / "training.json"], [source / "images"], tmp_path / "out", progress=False)
    train = read(tmp_path / "out", "train")
    assert [entry["i_segm"] for entry in train["annotations"][::3]] == [rle(15, 5, 30, 15)] * 3


def test_polygons_and_uncompressed_codes_are_masks_too(source, tmp_path):
    changed = content(1, 2, 3)
    changed["annotations"][1]["segmentation"] = [[5, 2, 15, 2, 15, 20, 5, 20]]
    counts = segmentation.run_lengths(changed["annotations"][0]["visible_mask"]["counts"]).tolist()
    changed["annotations"][0]["visible_mask"]["counts"] = counts
    (source / "training.json").write_text(json.dumps(changed))
    summary = convert([source / "training.json"], [source / "images"], tmp_path / "out", progress=False)
    assert not summary.read[0].findings
    assert [entry["ico_id"] for entry in read(tmp_path / "out", "test")["annotations"]] == [2, 1, 0] * 3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "training.json").write_text("{"), "training.json: is no complete json file"),
        (lambda folder: (folder / "images" / "D2S_4.jpg").unlink(), r"D2S_4.jpg \(image id 4 of .*lies in none of"),
        (lambda folder: (folder / "images" / "D2S_1.jpg").write_bytes(b"\xff"), "D2S_1.jpg"),
        (
            lambda folder: cv2.imwrite(str(folder / "images" / "D2S_1.jpg"), np.zeros((9, 8, 3), np.uint8)),
            "D2S_1.jpg: has 9 rows and 8 columns, but .*training.json says 30 and 40",
        ),
        (
            lambda folder: (folder / "validation.json").write_text(
                json.dumps(content(4, 5) | {"categories": [{"id": 7, "name": "box"}]})
            ),
            "categories of .* differ",
        ),
    ],
)
def test_what_cannot_be_converted_is_named_and_nothing_written(source, tmp_path, spoil, words):
    spoil(source)
    files = [source / "training.json", source / "validation.json"]
    with pytest.raises(DataError, match=words):
        convert(files, [source / "images"], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_images_of_one_name_in_two_folders_are_those_of_their_own_file(source, tmp_path):
    """As KITTI's are, whose training and testing images are numbered alike."""
    (source / "validation.json").write_text(json.dumps(content(1, 2)))
    (source / "others").mkdir()
    for number in (1, 2):
        image = np.full((HEIGHT, WIDTH, 3), 100 + number, np.uint8)
        cv2.imwrite(str(source / "others" / f"D2S_{number}.jpg"), image)
    files, folders = [source / "training.json", source / "validation.json"], [source / "images", source / "others"]
    convert(files, folders, tmp_path / "out", progress=False)
    for split, folder in (("train", "images"), ("test", "others")):
        copy = tmp_path / "out" / IMAGE_FOLDERS[split] / "D2S_1.jpg"
        assert copy.read_bytes() == (source / folder / "D2S_1.jpg").read_bytes()
    with pytest.raises(DataError, match=r"D2S_1.jpg .*lies in several of the folders of --images: .*images, .*others"):
        convert(files[:1], folders, tmp_path / "shared out", progress=False)
    assert not (tmp_path / "shared out").exists()


def test_kins_itself_is_not_taken_for_it(tmp_path, dataset):
    kins = "data/kins/dummy_data/update_train_2020.json"
    code, _, error = dataset("from-d2sa", kins, "--images", tmp_path, "--out", tmp_path / "out")
    assert code == 1
    assert "has the form of KINS 2020, not that of D2SA" in error
