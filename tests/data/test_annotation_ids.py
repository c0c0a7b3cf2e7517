"""Ground truth that any command writes is found whole by COCO's own code, whatever ids its source had."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from data.commands import check, from_d2sa, inmodal, orders, to_coco, vote
from data.kins.annotation_ids import sound_ids
from data.kins.writer import KinsAnnotation, write_annotations
from tests.data.test_damaged_json import command

DUMMY_DATA = Path(__file__).parents[2] / "data" / "kins" / "dummy_data"
IMAGES = DUMMY_DATA / "training" / "image_2"
IDS = st.one_of(
    st.integers(-2, 4),
    st.sampled_from([-(2**63), 2**31, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1]),
    st.integers(-(2**63), 2**63 - 1),
)


def average_precision(content: dict) -> float:
    """Of a COCO file's annotations taken as detections, by pycocotools alone."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        fields = ("image_id", "category_id", "bbox", "segmentation")
        detected = truth.loadRes([{key: one[key] for key in fields} | {"score": 1.0} for one in content["annotations"]])
        evaluation = COCOeval(truth, detected, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


def as_coco(content: dict, amodal: str = "a") -> dict:
    """A file of KINS 2020 with COCO's names for one of its two masks, which is all that tells the forms apart."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    renamed = []
    for entry in content["annotations"]:
        mask = segmentation.parse(entry[f"{amodal}_segm"], *sizes[entry["image_id"]]).rle
        fields = {"segmentation": mask, "bbox": entry[f"{amodal}_bbox"], "area": entry[f"{amodal}_area"], "iscrowd": 0}
        renamed.append({key: entry[key] for key in ("id", "image_id", "category_id")} | fields)
    return {**content, "annotations": renamed}


@st.composite
def renumberings(draw):
    """Gives a file other ids: any of its annotations, unique ones of its images and categories."""
    annotation_ids = draw(st.lists(IDS, min_size=9, max_size=9))
    image_ids = draw(st.lists(IDS, min_size=3, max_size=3, unique=True))
    category_ids = draw(st.lists(IDS, min_size=8, max_size=8, unique=True))

    def renumber(content: dict) -> dict:
        content = json.loads(json.dumps(content))
        images = {image["id"]: new for image, new in zip(content["images"], image_ids, strict=True)}
        categories = {entry["id"]: new for entry, new in zip(content["categories"], category_ids, strict=False)}
        for entry in (*content["images"], *content["categories"]):
            entry["id"] = (images if "file_name" in entry else categories)[entry["id"]]
        for entry, new in zip(content["annotations"], annotation_ids, strict=True):
            entry |= {"id": new, "image_id": images[entry["image_id"]], "category_id": categories[entry["category_id"]]}
        return content

    return renumber


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@settings(max_examples=25)
@given(renumber=renumberings())
def test_what_is_written_is_found_whole(renumber):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for release, file in (("2020", "update_train_2020.json"), ("2019", "instances_train.json")):
            source = folder / f"{release}.json"
            source.write_text(json.dumps(renumber(read(DUMMY_DATA / file))))
            for masks in to_coco.MASKS:
                command(to_coco, source, "--masks", masks, "--out", folder / f"{release}{masks}")
                assert average_precision(read(folder / f"{release}{masks}")) == pytest.approx(1, abs=1e-12)
            command(orders, source, "--out", folder / f"orders{release}", "--json", folder / f"found{release}")
            command(check, source, "--fix", folder / f"fixed{release}")
        source = folder / "2020.json"
        command(inmodal, source, "--out", folder / "inmodal")
        command(vote, source, source, "--out", folder / "voted")
        for made in ("orders2020", "orders2019", "inmodal", "voted", "fixed2020"):
            for prefix in "ai":
                assert average_precision(as_coco(read(folder / made), prefix)) == pytest.approx(1, abs=1e-12)
        # A repaired file of 2019 is a COCO file as it is.
        fixed = read(folder / "fixed2019")
        for entry, whole in zip(fixed["annotations"], as_coco_2019(fixed), strict=True):
            entry["segmentation"] = whole
        assert average_precision(fixed) == pytest.approx(1, abs=1e-12)


def as_coco_2019(content: dict) -> list:
    """Its masks as run-length codes, as detections need them."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    return [segmentation.parse(one["segmentation"], *sizes[one["image_id"]]).rle for one in content["annotations"]]


@settings(max_examples=10)
@given(renumber=renumberings())
def test_what_is_converted_is_found_whole(renumber):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = renumber(read(DUMMY_DATA / "instances_train.json"))
        for entry in content["annotations"]:
            entry["visible_mask"] = entry.pop("inmodal_seg")
        (folder / "d2sa.json").write_text(json.dumps(content))
        command(from_d2sa, folder / "d2sa.json", "--images", IMAGES, "--same-images", "--out", folder / "out")
        made = folder / "out" / "update_train_2020.json"
        assert average_precision(as_coco(read(made))) == pytest.approx(1, abs=1e-12)
        command(to_coco, made, "--masks", "inmodal", "--out", folder / "coco")
        assert average_precision(read(folder / "coco")) == pytest.approx(1, abs=1e-12)


@given(st.lists(st.one_of(st.none(), IDS), max_size=30))
def test_sound_ids_are_the_ids_wherever_they_can_stay(ids):
    sound = sound_ids(ids)
    assert len(set(sound)) == len(sound) == len(ids)
    assert all(1 <= identifier < 2**63 for identifier in sound)
    assert sound_ids(sound) == sound
    for index, (before, after) in enumerate(zip(ids, sound, strict=True)):
        if before is not None and before > 0 and before not in ids[:index]:
            assert after == before


def test_the_commands_say_which_ids_are_new(dataset, tmp_path):
    content = read(DUMMY_DATA / "update_train_2020.json")
    for entry, new in zip(content["annotations"], (0, 5, 5), strict=False):
        entry["id"] = new
    source = tmp_path / "source.json"
    source.write_text(json.dumps(content))
    said = "3 x annotation id below 1, or used before: a new one given (0 of image 0 is 10; 5 of image 0 is 11; "
    for words in (("to-coco", "--masks", "amodal"), ("orders",), ("inmodal",)):
        out = tmp_path / words[0]
        code, printed, _ = dataset(*words, source, "--out", out, "--workers", 1)
        assert code == 0
        assert said in printed
        assert [entry["id"] for entry in read(out)["annotations"]] == [10, 5, 11, 4, 12, 6, 7, 8, 9]


def test_the_findings_of_orders_are_of_the_ids_that_are_written(dataset, tmp_path):
    content = read(DUMMY_DATA / "update_train_2020.json")
    for entry in content["annotations"]:
        entry["id"] = 0
        entry["ico_id"] = min(entry["ico_id"], 1)
    source, out = tmp_path / "source.json", tmp_path / "out.json"
    source.write_text(json.dumps(content))
    assert dataset("inmodal", source, "--out", out, "--json", tmp_path / "found", "--workers", 1)[0] == 0
    members = {member for finding in read(tmp_path / "found") for member in finding["members"]}
    assert members
    assert members < {entry["id"] for entry in read(out)["annotations"]}


def test_a_writer_from_python_refuses_ids_that_are_repeated(tmp_path):
    mask = [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]]
    images = [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}]
    annotations = [KinsAnnotation(3, 1, "car", mask, mask, 1, 0)] * 2
    with pytest.raises(DataError, match="2 annotations have the id 3"):
        write_annotations(tmp_path / "out.json", images, annotations, ["car"])
    assert not list(tmp_path.iterdir())
