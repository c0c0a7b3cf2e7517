"""Annotation files with orders or inmodal masks computed anew, by their commands."""

import json
from pathlib import Path

from data.kins.annotations import read_annotation_file
from data.orders import orders as rules
from data.orders.derive import CONSEQUENCES, describe_findings
from data.orders.orders import OrderFinding
from data.orders.orders_of_masks import VISIBLE_IN_NEITHER

ROOT = Path(__file__).parents[3]
DUMMY_DATA = ROOT / "data" / "kins" / "dummy_data"
ORDERS_2020 = DUMMY_DATA / "update_train_2020.json"
NO_ORDERS_2019 = DUMMY_DATA / "instances_train.json"


def annotations(path):
    return json.loads(path.read_text())["annotations"]


def values(path, *keys):
    return [[entry[key] for key in keys] for entry in annotations(path)]


def test_orders_bring_a_file_of_2019_to_the_form_of_2020(dataset, tmp_path):
    out = tmp_path / "made" / "update_train_2020.json"
    code, printed, _ = dataset("orders", NO_ORDERS_2019, "--out", out, "--workers", 1)
    assert code == 0
    assert "3 images, 9 instances" in printed
    assert "nothing left open" in printed
    keys = ("id", "image_id", "category_id", "oco_id", "ico_id", "a_bbox", "a_segm", "i_bbox", "i_area")
    assert values(out, *keys) == values(ORDERS_2020, *keys)
    assert read_annotation_file(out).categories == read_annotation_file(NO_ORDERS_2019).categories


def test_inmodal_masks_are_those_of_the_rectangles(dataset, tmp_path):
    content = json.loads(ORDERS_2020.read_text())
    for entry in content["annotations"]:
        entry["i_segm"] = entry["a_segm"]
    drawn, out = tmp_path / "drawn.json", tmp_path / "out.json"
    drawn.write_text(json.dumps(content))
    code, printed, _ = dataset("inmodal", drawn, "--out", out, "--workers", 1)
    assert code == 0
    assert "no order breaks the rules" in printed
    keys = ("id", "oco_id", "ico_id", "a_segm", "i_bbox", "i_area")
    assert values(out, *keys) == values(ORDERS_2020, *keys)
    # The ids of the categories stay, `rider` among them.
    assert json.loads(out.read_text())["categories"] == [
        {"id": 1, "name": "cyclist", "supercategory": "Living Thing"},
        {"id": 2, "name": "pedestrian", "supercategory": "Living Thing"},
        {"id": 3, "name": "rider", "supercategory": "rider"},
        *({"id": 4 + i, "name": name, "supercategory": "vehicles"} for i, name in enumerate(LARGE)),
    ]


LARGE = ("car", "tram", "truck", "van", "misc")


def test_findings_name_annotations_and_are_reported_in_full(dataset, tmp_path):
    content = json.loads(ORDERS_2020.read_text())
    pairs = [entry for entry in content["annotations"] if entry["ico_id"]]
    for entry in pairs:
        entry["ico_id"] = 1
    drawn, out, report = tmp_path / "drawn.json", tmp_path / "out.json", tmp_path / "report.json"
    drawn.write_text(json.dumps(content))
    code, printed, _ = dataset("inmodal", drawn, "--out", out, "--json", report, "--workers", 1)
    assert code == 0
    assert "3 x equal orders in a cluster that overlap: both keep the overlap (annotations 1 and 2; 4 and 5;" in printed
    found = json.loads(report.read_text())
    assert [(finding["kind"], finding["members"]) for finding in found] == [
        (rules.EQUAL_ORDERS, [first["id"], second["id"]]) for first, second in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    assert [entry["i_area"] for entry in annotations(out)] == [entry["a_area"] for entry in annotations(out)]


def test_crowds_and_unreadable_annotations(dataset, tmp_path):
    content = json.loads(NO_ORDERS_2019.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["segmentation"] = [[1, 2]]
    del content["annotations"][3]["inmodal_seg"]
    drawn, out = tmp_path / "drawn.json", tmp_path / "out.json"
    drawn.write_text(json.dumps(content))
    code, printed, _ = dataset("orders", drawn, "--out", out, "--workers", 1)
    assert code == 0
    assert "8 instances" in printed
    assert "amodal mask with nothing to draw in its image: instance left out (annotation 2)" in printed
    written = {entry["id"]: entry for entry in annotations(out)}
    assert written.keys() == {1, *range(3, 10)}
    assert [identifier for identifier, entry in written.items() if entry.get("iscrowd")] == [1]
    assert written[4]["i_segm"] == written[4]["a_segm"]


def test_pseudo_labels_are_called_so_by_whatever_is_made_of_them(dataset, tmp_path):
    source, info = tmp_path / "pseudo.json", {"pseudo_labels": True}
    source.write_text(json.dumps({"info": info, **json.loads((DUMMY_DATA / "update_train_2020.json").read_text())}))
    for command in (("orders",), ("inmodal",), ("to-coco", "--masks", "amodal"), ("vote", source)):
        out = tmp_path / f"{command[0]}.json"
        assert dataset(*command, source, "--out", out, "--workers", 1)[0] == 0
        assert json.loads(out.read_text())["info"] == info


def test_nothing_is_written_over_and_nothing_left_behind(dataset, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("mine")
    code, _, error = dataset("orders", NO_ORDERS_2019, "--out", out)
    assert (code, out.read_text()) == (1, "mine")
    assert "out.json is there already: name another place, or give --force" in error
    code, _, error = dataset("inmodal", NO_ORDERS_2019, "--out", out, "--force", "--workers", 1)
    assert (code, out.read_text()) == (1, "mine")
    assert "annotation 1 of image 0 has no cluster and order" in error
    code, _, _ = dataset("orders", NO_ORDERS_2019, "--out", out, "--force", "--workers", 1)
    assert code == 0
    assert len(annotations(out)) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_every_kind_of_finding_has_a_consequence():
    findings = [OrderFinding(kind, (7, 8), 3) for kind in CONSEQUENCES for _ in range(6)]
    lines = describe_findings(findings)
    assert len(lines) == len(CONSEQUENCES) == 7
    assert all(line.endswith("(annotations 7 and 8; 7 and 8; 7 and 8; 7 and 8; 7 and 8; ...)") for line in lines)
    assert any(line.startswith(f"6 x {VISIBLE_IN_NEITHER}: the first of the file") for line in lines)


def test_orders_of_real_masks_are_the_annotators_own(sample_data, dataset, tmp_path):
    """COCO-Amodal has both, drawn by people; regions that stuff hides, which is left out, keep all of their orders."""
    drawn, out = tmp_path / "cocoa" / "update_train_2020.json", tmp_path / "out.json"
    assert dataset("from-cocoa", sample_data / "cocoa", "--out", tmp_path / "cocoa", "--same-images")[0] == 0
    code, printed, _ = dataset("orders", drawn, "--out", out, "--workers", 1)
    assert code == 0
    assert "47 instances\n  nothing left open" in printed
    assert values(out, "id", "oco_id", "ico_id") == values(drawn, "id", "oco_id", "ico_id")
