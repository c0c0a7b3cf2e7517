"""Out of KINS json: COCO files that COCO's own code takes, and KITTI's instance maps."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from data.exports.instance_maps import instance_map
from data.kins.annotations import KEYS
from data.kins.instances import read_instance

DUMMY_DATA = Path(__file__).parents[3] / "data" / "kins" / "dummy_data"
FILE = DUMMY_DATA / "update_train_2020.json"


@pytest.mark.parametrize("source", ["update_train_2020.json", "instances_train.json"])
@pytest.mark.parametrize(("masks", "prefix"), [("amodal", "a"), ("inmodal", "i")])
def test_cocos_own_code_finds_the_ground_truth_perfect(dataset, tmp_path, source, masks, prefix):
    out = tmp_path / "coco.json"
    code, printed, _ = dataset("to-coco", DUMMY_DATA / source, "--masks", masks, "--out", out, "--workers", 1)
    assert code == 0
    assert f"3 images, 9 instances with their {masks} masks" in printed
    original = json.loads(FILE.read_text())["annotations"]
    written = json.loads(out.read_text())["annotations"]
    assert [(entry["id"], entry["bbox"], entry["area"]) for entry in written] == [
        (entry["id"], entry[f"{prefix}_bbox"], entry[f"{prefix}_area"]) for entry in original
    ]
    truth = COCO(str(out))
    results = truth.loadRes([{**entry, "score": 1.0} for entry in written])
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, results, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == evaluation.stats[8] == 1.0
        # And not because nothing is compared: half of the detections find half.
        half = COCOeval(truth, truth.loadRes([{**entry, "score": 1.0} for entry in written[::2]]), kind)
        half.evaluate()
        half.accumulate()
        half.summarize()
        assert half.stats[0] < 0.9


def test_what_nobody_sees_is_no_inmodal_instance(dataset, tmp_path):
    content = json.loads(FILE.read_text())
    hidden = content["annotations"][1]
    hidden["i_segm"] = {"size": [48, 96], "counts": [48 * 96]}
    source = tmp_path / "source.json"
    source.write_text(json.dumps(content))
    counts = {}
    for masks in ("amodal", "inmodal"):
        assert dataset("to-coco", source, "--masks", masks, "--out", tmp_path / masks, "--workers", 1)[0] == 0
        counts[masks] = {entry["id"] for entry in json.loads((tmp_path / masks).read_text())["annotations"]}
    assert counts["amodal"] - counts["inmodal"] == {hidden["id"]}


def test_maps_tell_class_and_instance_of_every_visible_pixel(dataset, tmp_path):
    code, printed, _ = dataset("to-kitti-instances", FILE, "--out", tmp_path / "instance", "--workers", 1)
    assert code == 0
    assert "3 maps" in printed
    content = json.loads(FILE.read_text())
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    kitti = {"pedestrian": 24, "cyclist": 25, "car": 26, "van": 26, "truck": 27, "tram": 31, "misc": 30}
    for image in content["images"]:
        drawn = cv2.imread(str(tmp_path / "instance" / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert (drawn.dtype, drawn.shape) == (np.uint16, (image["height"], image["width"]))
        expected, seen = np.zeros_like(drawn), {}
        for entry in content["annotations"]:
            if entry["image_id"] == image["id"]:
                class_id = kitti[names[entry["category_id"]]]
                seen[class_id] = seen.get(class_id, 0) + 1
                mask = segmentation.parse(entry["i_segm"], image["height"], image["width"]).rle
                expected[segmentation.decode(mask)] = 256 * class_id + seen[class_id]
        np.testing.assert_array_equal(drawn, expected)
        assert len(np.unique(drawn)) == 4


def instances(*boxes_and_orders):
    made = []
    for index, (x1, x2, order) in enumerate(boxes_and_orders):
        polygon = [[x1, 2, x2, 2, x2, 8, x1, 8]]
        record = {"id": index, "category_id": 4, "a_segm": polygon, "i_segm": polygon, "oco_id": 1, "ico_id": order}
        made.append(read_instance(record, KEYS["2020"], 10, 30)[0])
    return made


def test_the_nearer_wins_where_outlines_overlap():
    drawn = instance_map(instances((2, 12, 2), (10, 20, 1), (18, 28, 3)), {4: 26}, 10, 30, "image 0")
    index = drawn[5] % 256
    assert list(index[[2, 9, 10, 19, 20, 27]]) == [1, 1, 2, 2, 3, 3]
    assert set(drawn[5] // 256) == {0, 26}


def test_a_map_cannot_tell_256_of_a_class_apart():
    many = instances(*[(1, 5, 0)] * 256)
    with pytest.raises(DataError, match="image 0 has more than 255 instances of class id 26"):
        instance_map(many, {4: 26}, 10, 30, "image 0")


def test_classes_that_kitti_does_not_know_keep_their_own_ids(dataset, tmp_path):
    content = json.loads(FILE.read_text())
    for entry in content["categories"]:
        entry["name"] = f"my {entry['name']}"
    source, out = tmp_path / "source.json", tmp_path / "instance"
    source.write_text(json.dumps(content))
    code, _, error = dataset("to-kitti-instances", source, "--out", out)
    assert code == 1
    assert "KITTI has no label id for 'my cyclist'; --class-ids own" in error
    assert not out.exists()
    assert dataset("to-kitti-instances", source, "--out", out, "--class-ids", "own", "--workers", 1)[0] == 0
    drawn = cv2.imread(str(out / "000000.png"), cv2.IMREAD_UNCHANGED)
    ids = {entry["category_id"] for entry in content["annotations"] if entry["image_id"] == 0}
    assert set(np.unique(drawn // 256)) == {0, *ids}
    assert dataset("to-kitti-instances", source, "--out", out, "--class-ids", "own")[0] == 1
