"""COCO-Amodal as it is released, one json file for a split, beside the form of one json file for an image."""

import json

import cv2
import numpy as np
import pytest

from amodal_jax.errors import DataError
from data.cocoa.convert import convert
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS

HEIGHT, WIDTH = 30, 40


def region(name, order, x1, y1, x2, y2, **other):
    outline = [x1, y1, x2, y1, x2, y2, x1, y2]
    return {"name": name, "order": order, "isStuff": 0, "segmentation": outline, "occlude_rate": 0, "area": 9} | other


REGIONS = {
    188819: [
        region("cup ", 1, 2, 2, 15, 20),
        region("plate", 2, 5, 5, 25, 15),
        region("sky", 3, 0, 0, 40, 9, isStuff=1),
    ],
    343254: [region("Cup", 1, 4, 4, 20, 20)],
    7: [region("plate", 1, 1, 1, 9, 9)],
}


def annotation(number, image_id, author="ann"):
    return {
        "author": author,
        "url": f"https://example.org/{image_id}.jpg",
        "regions": REGIONS[image_id],
        "image_id": image_id,
        "id": number,
        "size": len(REGIONS[image_id]),
    }


def file_name(image_id):
    return f"COCO_val2014_{image_id:012d}.jpg"


def released(*image_ids, prefix=""):
    """The content of the json file of a split."""
    return {
        "images": [
            {"id": image_id, "file_name": prefix + file_name(image_id), "width": WIDTH, "height": HEIGHT}
            for image_id in image_ids
        ],
        "annotations": [annotation(number, image_id) for number, image_id in enumerate(image_ids, start=1)],
    }


@pytest.fixture
def write(tmp_path):
    """Writes a split's json file, and images in `val2014`; gives the file's path."""
    (tmp_path / "val2014").mkdir()
    for image_id in REGIONS:
        cv2.imwrite(
            str(tmp_path / "val2014" / file_name(image_id)), np.full((HEIGHT, WIDTH, 3), image_id % 256, np.uint8)
        )

    def written(content, name="COCO_amodal_val2014.json"):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return written


def read(out, split="train"):
    return json.loads((out / ANNOTATION_FILES["2020"][split]).read_text())


def test_both_forms_are_the_same_annotations(write, tmp_path):
    images = tmp_path / "val2014"
    path = write(released(*REGIONS))
    convert(path, tmp_path / "a", test_fraction=0.4, image_folders=[images])
    single = tmp_path / "single"
    single.mkdir()
    for number, image_id in enumerate(REGIONS, start=1):
        stem = file_name(image_id).removesuffix(".jpg")
        (single / f"{stem}.json").write_text(json.dumps(annotation(number, image_id)))
    convert(single, tmp_path / "b", test_fraction=0.4, image_folders=[images])
    for split in ("train", "test"):
        one, other = ({image["id"]: image for image in read(tmp_path / out, split)["images"]} for out in "ab")
        assert one == other
        keys = ("image_id", "category_id", "a_segm", "i_segm", "oco_id", "ico_id")
        found = [
            sorted(json.dumps([entry[key] for key in keys]) for entry in read(tmp_path / out, split)["annotations"])
            for out in "ab"
        ]
        assert found[0] == found[1]
        for image in one.values():
            copy = tmp_path / "a" / IMAGE_FOLDERS[split] / image["file_name"]
            assert copy.read_bytes() == (images / image["file_name"]).read_bytes()
    assert len(read(tmp_path / "a", "test")["images"]) == 1


def test_images_are_found_beside_the_file_or_by_the_path_that_it_says(write, tmp_path):
    for prefix in ("val2014/", "somewhere\\val2014\\"):
        path = write(released(*REGIONS, prefix=prefix))
        summary = convert(path, tmp_path / prefix[:3], test_fraction=None)
        assert summary.images == {"train": 3, "test": 3}
    path = write(released(*REGIONS), "val2014/instances.json")
    for source, out in ((path, "file"), (path.parent, "folder")):
        assert convert(source, tmp_path / out, test_fraction=None).instances["train"] == 4


def test_two_files_become_the_splits(write, tmp_path, dataset):
    train, test = write(released(188819, 7), "train.json"), write(released(343254), "test.json")
    out = tmp_path / "out"
    code, printed, error = dataset("from-cocoa", train, test, "--images", tmp_path / "val2014", "--out", out)
    assert code == 0, error
    assert "train: 2 images, 3 instances" in printed
    assert "test: 1 images, 1 instances" in printed
    assert "1 regions marked as stuff were left out" in printed
    assert {image["id"] for image in read(out, "train")["images"]} == {188819, 7}
    assert read(out, "train")["categories"] == read(out, "test")["categories"]
    code, _, error = dataset("from-cocoa", train, test, train, "--out", out, "--force")
    assert code == 1
    assert "name one file or folder, or that of the training split" in error


def test_of_several_annotators_one_is_taken(write, tmp_path, dataset):
    content = released(188819, 7)
    content["annotations"].append(annotation(3, 7, author="ben"))
    path = write(content)
    command = ["from-cocoa", path, "--images", tmp_path / "val2014", "--same-images", "--out", tmp_path / "out"]
    code, _, error = dataset(*command)
    assert code == 1
    assert "annotation 1 (image 7 by ann) and " in error
    assert "annotation 2 (image 7 by ben) are both of the image_id 7; leave one, or, " in error
    assert "--author" in error
    code, printed, error = dataset(*command, "--author", "ben")
    assert code == 0, error
    assert "train: 1 images, 1 instances" in printed
    assert "1 images without an annotation were left out" in printed
    code, _, error = dataset(*command, "--author", "cleo", "--force")
    assert code == 1
    assert "with any of 'cleo'" in error


def test_images_without_annotations_and_other_json_are_said(write, tmp_path, dataset):
    content = released(188819, 7)
    content["images"] += released(343254)["images"]
    write(content, "val2014/COCO_amodal_val2014.json")
    (tmp_path / "val2014" / "instances_val2014.json").write_text(json.dumps({"images": [], "annotations": []}))
    (tmp_path / "val2014" / "._COCO_amodal_val2014.json").write_bytes(b"\0\5\x16\7")
    code, printed, error = dataset("from-cocoa", tmp_path / "val2014", "--same-images", "--out", tmp_path / "out")
    assert code == 0, error
    assert "train: 2 images, 3 instances" in printed
    assert "1 images without an annotation were left out" in printed
    assert "1 json files that are not COCO-Amodal's were left out: " in printed


def test_all_that_is_wrong_is_told_in_one_run(write, tmp_path, dataset):
    content = released(188819, 343254, 7)
    content["annotations"] += [{"image_id": 5, "regions": []}, 5, {"image_id": 7}, {"regions": []}]
    path = write(content)
    (tmp_path / "val2014" / file_name(188819)).unlink()
    (tmp_path / "val2014" / file_name(343254)).write_bytes(b"x")
    command = ["from-cocoa", path, "--images", tmp_path / "val2014", "--out", tmp_path / "out"]
    code, _, error = dataset(*command)
    assert code == 1
    for words in (
        "nothing is written, for 5 things are wrong",
        f"annotation 0 (image 188819 by ann): its image {file_name(188819)} is in none of {tmp_path / 'val2014'}",
        "annotation 3 is of the image 5, which the file does not list",
        "annotation 4 is no object",
        "annotation 5 (image 7): the key 'regions' is missing",
        "annotation 6 has no whole number under 'image_id'",
    ):
        assert words in error
    content["annotations"] = content["annotations"][1:3]
    content["annotations"][0]["regions"] = [{"name": "a"}, region("b", 1, 1, 1, 5, 5), 5]
    content["annotations"][1]["regions"] = [region("c", 1, 1, 1, 1, 1)]
    write(content)
    cv2.imwrite(str(tmp_path / "val2014" / file_name(343254)), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    code, _, error = dataset(*command)
    assert code == 1
    for words in ("2 things are wrong", "region 1 has no whole number under 'order'", "region 3: the key 'name'"):
        assert words in error
    assert not (tmp_path / "out").exists()


def with_regions(*regions):
    """Gives every image these regions."""

    def change(content):
        for one in content["annotations"]:
            one["regions"] = list(regions)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content["images"][0].update(width=41), "has 30 rows and 40 columns, but .* of 30 and 41"),
        (lambda content: content["images"].append(content["images"][0]), "two images have the id 188819"),
        (lambda content: content["images"][0].pop("file_name"), "no text under 'file_name'"),
        (lambda content: content.update(images={}), "the key 'images' is missing"),
        (lambda content: content["annotations"].clear(), "no file of COCO-Amodal, .* are for from-d2sa"),
        (
            with_regions(region("sky", 1, 0, 0, 9, 9, isStuff=1)),
            r"no instance. What is left out or wrong \(1\):\s2 regions marked as stuff, which --include-stuff keeps",
        ),
        (
            with_regions(region("cup", 1, 60, 60, 70, 70)),
            r"no instance. What is left out or wrong \(4\):\s(?s:.*)region 1: nothing of its amodal mask can be drawn",
        ),
    ],
)
def test_what_cannot_be_converted_is_named_and_nothing_written(write, tmp_path, change, words):
    content = released(188819, 7)
    change(content)
    path = write(content)
    with pytest.raises(DataError, match=words) as error:
        convert(path, tmp_path / "out", test_fraction=None, image_folders=[tmp_path / "val2014"])
    assert "choose another" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_released_file(sample_data, tmp_path):
    """A part of it, and the same images in the other form."""
    folder = sample_data / "field_cases" / "12-cocoa-released-file"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    assert convert(folder / "COCO_amodal_val2014.json", tmp_path / "a", test_fraction=None).instances["train"] == 31
    convert(sample_data / "cocoa", tmp_path / "b", test_fraction=None)
    one, other = ({entry["id"]: entry for entry in read(tmp_path / out)["images"]} for out in "ab")
    assert one.items() <= other.items()
    masks = [
        sorted(
            json.dumps([entry["image_id"], entry["a_segm"], entry["i_segm"], entry["ico_id"]])
            for entry in read(tmp_path / out)["annotations"]
            if entry["image_id"] in one
        )
        for out in "ab"
    ]
    assert masks[0] == masks[1]
