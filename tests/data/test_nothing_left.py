"""Conversions of which nothing is left say why, for all masks, and give no advice that is followed already."""

import json
from pathlib import Path

import pytest

DUMMY_DATA = Path(__file__).parents[2] / "data" / "kins" / "dummy_data"
IMAGES = DUMMY_DATA / "training" / "image_2"


def kins(name="update_train_2020.json"):
    return json.loads((DUMMY_DATA / name).read_text())


def nested_too_deeply(content, keys):
    """Every mask one list deeper than any that can be read."""
    for entry in content["annotations"]:
        for key in keys:
            entry[key] = [[[point] for point in polygon] for polygon in entry[key]]
    return content


def of_d2sa():
    content = kins()
    for entry in content["annotations"]:
        entry |= {"segmentation": entry.pop("a_segm"), "bbox": entry.pop("a_bbox"), "visible_mask": entry.pop("i_segm")}
    return content


@pytest.mark.parametrize(
    "command",
    [
        ("orders",),
        ("inmodal",),
        ("to-coco", "--masks", "amodal"),
        ("to-coco", "--masks", "inmodal"),
        ("to-kitti-instances",),
        ("vote",),
    ],
)
def test_conversions_of_kins(dataset, tmp_path, command):
    path = tmp_path / "deep.json"
    path.write_text(json.dumps(nested_too_deeply(kins(), ["a_segm", "i_segm"])))
    name, *options = command
    sources = [path, path] if name == "vote" else [path]
    code, _, error = dataset(name, *sources, *options, "--out", tmp_path / "out", "--workers", 1)
    assert code == 1
    assert "9 x amodal mask" in error or "18 x amodal mask" in error
    assert "polygon that is no list of x, y pairs" in error
    assert not (tmp_path / "out").exists()


def test_masks_that_nobody_sees_are_no_inmodal_file(dataset, tmp_path):
    content, path = kins(), tmp_path / "hidden.json"
    for entry in content["annotations"]:
        entry["i_segm"] = {"size": [48, 96], "counts": [48 * 96]}
    path.write_text(json.dumps(content))
    code, _, error = dataset("to-coco", path, "--masks", "inmodal", "--out", tmp_path / "out", "--workers", 1)
    assert code == 1
    assert "no instance of" in error
    assert "9 x inmodal mask without a pixel" in error
    assert dataset("to-coco", path, "--masks", "amodal", "--out", tmp_path / "out", "--workers", 1)[0] == 0


@pytest.mark.parametrize("options", [["--same-images"], ["--test-fraction", "0.4"], []])
def test_d2sa_of_which_no_mask_can_be_read(dataset, tmp_path, options):
    path = tmp_path / "deep.json"
    path.write_text(json.dumps(nested_too_deeply(of_d2sa(), ["segmentation"])))
    code, _, error = dataset("from-d2sa", path, "--images", IMAGES, "--out", tmp_path / "out", *options)
    assert code == 1
    assert "deep.json is left: " in error
    assert "9 x amodal mask: polygon that is no list of x, y pairs" in error
    assert "choose another" not in error
    assert "same images" not in error
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_empty_as_its_masks_cannot_be_read(dataset, tmp_path):
    """Another share for the test split would help, and the masks are named."""
    content, path = of_d2sa(), tmp_path / "partly.json"
    for entry in content["annotations"]:
        if entry["image_id"] != 0:
            entry["segmentation"] = [[[[1, 2]]]]
    path.write_text(json.dumps(content))
    command = ["from-d2sa", path, "--images", IMAGES, "--out", tmp_path / "out"]
    code, _, error = dataset(*command, "--test-fraction", "0.4")
    assert code == 1
    assert "the t" in error
    assert "split would have" in error
    assert "choose another test fraction, or the same images for both splits. What is left out or wrong (" in error
    assert "x amodal mask with nothing to draw in its image: instance left out" in error
    assert dataset(*command, "--same-images")[0] == 0


def test_two_files_are_not_shared_out(dataset, tmp_path):
    whole, deep = tmp_path / "whole.json", tmp_path / "deep.json"
    whole.write_text(json.dumps(of_d2sa()))
    deep.write_text(json.dumps(nested_too_deeply(of_d2sa(), ["segmentation"])))
    code, _, error = dataset("from-d2sa", whole, deep, "--images", IMAGES, "--out", tmp_path / "out")
    assert code == 1
    assert "no instance of" in error
    assert "deep.json is left: 9 x amodal mask" in error
    assert "choose another" not in error


def test_all_images_that_are_missing_are_told_in_one_run(dataset, tmp_path):
    content, path = of_d2sa(), tmp_path / "d2sa.json"
    for image in content["images"][1:]:
        image["file_name"] = f"absent{image['id']}.png"
    path.write_text(json.dumps(content))
    code, _, error = dataset("from-d2sa", path, "--images", IMAGES, "--out", tmp_path / "out", "--same-images")
    assert code == 1
    assert "2 things are wrong" in error
    for name in ("absent1.png (image id 1 of", "absent2.png (image id 2 of"):
        assert name in error


def test_d2sa_knows_coco_amodal(dataset, tmp_path):
    path = tmp_path / "COCO_amodal_val2014.json"
    path.write_text(json.dumps({"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 1, "regions": []}]}))
    code, _, error = dataset("from-d2sa", path, "--images", tmp_path, "--out", tmp_path / "out")
    assert code == 1
    assert "is COCO-Amodal's, whose annotations have `regions`: from-cocoa reads it" in error
