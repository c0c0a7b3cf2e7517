"""The builder, with what it built read back by TFDS alone and compared with the annotation files."""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from pycocotools import mask as coco_mask

from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.mask_crops import crop_mask, unpack_crop
from data.kins import make_dummy_data, problems
from data.kins.annotations import check_images_exist, read_annotation_file
from data.kins.kins_dataset_builder import REPORT_FILE, Builder
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS

ROOT = Path(__file__).parents[2]
DUMMY_DATA = ROOT / "data" / "kins" / "dummy_data"
RAW_KEYS = {
    "2019": ("bbox", "segmentation", "inmodal_bbox", "inmodal_seg"),
    "2020": ("a_bbox", "a_segm", "i_bbox", "i_segm"),
}


class Kins2020Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = make_dummy_data.IMAGES


class Kins2019Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = make_dummy_data.IMAGES

    def _make_builder(self, config=None):
        return Builder(data_dir=self.tmp_dir, release="2019", config=config)


def build(manual_dir, data_dir, **arguments):
    builder = Builder(data_dir=data_dir, **arguments)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    )
    return Path(builder.data_path)


def read(folder, split):
    builder = tfds.builder_from_directory(folder)
    examples = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    return {int(example["image/id"]): example for example in tfds.as_numpy(examples)}


def raw_mask(segmentation, height, width):
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return coco_mask.decode(segmentation).astype(bool)


def assert_records_are_the_annotations(folder, manual_dir, release):
    """Every field of every record against the annotation file, with masks drawn anew by pycocotools."""
    names = tfds.builder_from_directory(folder).info.features["objects"]["label"].names
    for split, file_name in ANNOTATION_FILES[release].items():
        content = json.loads((manual_dir / file_name).read_text())
        category_names = {category["id"]: category["name"] for category in content["categories"]}
        records = read(folder, split)
        assert sorted(records) == sorted(image["id"] for image in content["images"])
        for image in content["images"]:
            record, objects = records[image["id"]], records[image["id"]]["objects"]
            height, width = image["height"], image["width"]
            path = manual_dir / IMAGE_FOLDERS[split] / image["file_name"]
            assert record["image"] == path.read_bytes()
            assert record["image/filename"].decode() == path.name
            assert (record["image/height"], record["image/width"]) == (height, width)
            annotations = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
            assert objects["id"].tolist() == [entry["id"] for entry in annotations]
            for i, annotation in enumerate(annotations):
                amodal_box, amodal_mask, inmodal_box, inmodal_mask = (annotation[key] for key in RAW_KEYS[release])
                amodal, inmodal = (raw_mask(mask, height, width) for mask in (amodal_mask, inmodal_mask))
                assert names[objects["label"][i]] == category_names[annotation["category_id"]]
                for field, mask in (("amodal_rle", amodal), ("inmodal_rle", inmodal)):
                    stored = coco_mask.decode({"size": [height, width], "counts": objects[field][i]})
                    np.testing.assert_array_equal(stored.astype(bool), mask)
                for field, (x, y, box_width, box_height) in (
                    ("amodal_bbox", amodal_box),
                    ("inmodal_bbox", inmodal_box),
                ):
                    expected = np.array([y, x, y + box_height, x + box_width])
                    stored = objects[field][i] * [height, width, height, width]
                    np.testing.assert_allclose(stored, expected, atol=1e-3)
                x, y, box_width, box_height = amodal_box
                frame = np.array([x, y, x + box_width, y + box_height], float)
                for field, mask in (("amodal_crop", amodal), ("inmodal_crop", inmodal)):
                    np.testing.assert_array_equal(unpack_crop(objects[field][i]), crop_mask(mask, frame))
                ratio = (amodal & ~inmodal).sum() / amodal.sum()
                np.testing.assert_allclose(objects["occlusion_ratio"][i], ratio, rtol=1e-6)
                assert objects["cluster_id"][i] == annotation.get("oco_id", -1)
                assert objects["occlusion_order"][i] == annotation.get("ico_id", -1)
                assert objects["is_crowd"][i] == bool(annotation.get("iscrowd", 0))


@pytest.fixture
def manual_dir(tmp_path):
    """A copy of the dummy data that a test may spoil."""
    return Path(shutil.copytree(DUMMY_DATA, tmp_path / "manual"))


def change(manual_dir, edit, split="train", release="2020"):
    """Applies `edit` to the content of an annotation file."""
    path = manual_dir / ANNOTATION_FILES[release][split]
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def fails_without_a_trace(manual_dir, data_dir, **arguments):
    """The message of the build's error, after checking that nothing is left of what it began."""
    with pytest.raises(DataError) as error:
        build(manual_dir, data_dir, **arguments)
    assert not [path for path in data_dir.rglob("*") if path.is_file()]
    return str(error.value)


@pytest.mark.parametrize("release", ["2019", "2020"])
def test_records_are_the_annotations(release, tmp_path):
    folder = build(DUMMY_DATA, tmp_path, release=release)
    assert_records_are_the_annotations(folder, DUMMY_DATA, release)
    info = tfds.builder_from_directory(folder).info
    assert tuple(info.features["objects"]["label"].names) == KINS_CLASS_NAMES
    assert info.metadata["category_ids"] == [1, 2, 4, 5, 6, 7, 8]
    report = json.loads((folder / REPORT_FILE).read_text())
    assert {split: counts["images"] for split, counts in report["splits"].items()} == make_dummy_data.IMAGES
    assert all(not counts["problems"] for counts in report["splits"].values())
    assert {file["release"] for file in report["annotation_files"].values()} == {release}
    for split, file_name in ANNOTATION_FILES[release].items():
        content = json.loads((DUMMY_DATA / file_name).read_text())
        objects = Counter(one["image_id"] for one in content["annotations"])
        assert report["splits"][split]["largest"] == {
            "height": max(image["height"] for image in content["images"]),
            "width": max(image["width"] for image in content["images"]),
            "objects": max(objects.values()),
        }


def test_both_releases_of_the_same_scenes_give_the_same_records(tmp_path):
    older, newer = (build(DUMMY_DATA, tmp_path / release, release=release) for release in ("2019", "2020"))
    for split in ("train", "test"):
        for first, second in zip(read(older, split).values(), read(newer, split).values(), strict=True):
            for field in set(first["objects"]) - {"cluster_id", "occlusion_order"}:
                np.testing.assert_array_equal(first["objects"][field], second["objects"][field])
            assert (first["objects"]["occlusion_order"] == -1).all()


def test_processes_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("data.kins.kins_dataset_builder._IMAGES_WORTH_PROCESSES", 1)
    one = build(DUMMY_DATA, tmp_path / "one", workers=1)
    two = build(DUMMY_DATA, tmp_path / "two", workers=2)
    for path in one.iterdir():
        if path.suffix != ".json":
            assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_json_may_lie_in_a_folder_of_its_own(manual_dir, tmp_path):
    (manual_dir / "annotations").mkdir()
    for names in ANNOTATION_FILES.values():
        for name in names.values():
            (manual_dir / name).rename(manual_dir / "annotations" / name)
    folder = build(manual_dir, tmp_path / "built")
    assert len(read(folder, "train")) == make_dummy_data.IMAGES["train"]


def test_an_image_without_annotations_is_kept(manual_dir, tmp_path):
    def drop(content):
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 1]

    change(manual_dir, drop)
    objects = read(build(manual_dir, tmp_path / "built"), "train")[1]["objects"]
    assert objects["amodal_crop"].shape == (0, 112, 14)
    assert objects["label"].shape == (0,)


def test_problems_are_counted_reported_and_refused_when_strict(manual_dir, tmp_path):
    def spoil(content):
        first, second, third, *_ = content["annotations"]
        first["a_segm"] = []
        second["a_bbox"][0] += 7
        third["i_segm"].append([1, 1, 2, 2])

    change(manual_dir, spoil)
    folder = build(manual_dir, tmp_path / "built")
    counts = json.loads((folder / REPORT_FILE).read_text())["splits"]["train"]
    assert counts["instances"] == 8
    assert counts["instances_left_out"] == 1
    found = {problem["kind"]: (problem["count"], problem["first_ids"]) for problem in counts["problems"]}
    assert found == {
        problems.AMODAL_EMPTY: (1, [1]),
        f"amodal {problems.BOX_DISAGREES}": (1, [2]),
        "inmodal mask: polygon of fewer than three points": (1, [3]),
    }
    message = fails_without_a_trace(manual_dir, tmp_path / "strict", strict=True)
    assert "update_train_2020.json" in message
    assert "--strict" in message
    assert problems.AMODAL_EMPTY in message


def test_missing_annotations_tell_how_to_get_them(manual_dir, tmp_path):
    (manual_dir / "update_test_2020.json").unlink()
    message = fails_without_a_trace(manual_dir, tmp_path / "built", release="2020")
    assert "update_test_2020.json is missing" in message
    assert "cvlibs.net" in message
    message = fails_without_a_trace(tmp_path / "nowhere", tmp_path / "built")
    assert "nowhere" in message
    assert "cvlibs.net" in message


def test_a_missing_image_is_named(manual_dir, tmp_path):
    (manual_dir / "testing/image_2/000001.png").unlink()
    message = fails_without_a_trace(manual_dir, tmp_path / "built")
    assert "testing/image_2/000001.png" in message
    assert "image id 1" in message
    assert "put them there" in message
    assert "cvlibs.net" not in message  # the dummy data are no KINS


def test_only_kins_is_told_where_to_fetch_kitti(manual_dir, tmp_path):
    file = read_annotation_file(manual_dir / "update_train_2020.json")
    (image, *_), empty = file.images, tmp_path / "empty"
    many = tuple(dataclasses.replace(image, id=number, file_name=f"{number:06d}.png") for number in range(7474))
    with pytest.raises(DataError, match=r"(?s)7474 of the 7474 images .*cvlibs.net"):
        check_images_exist(dataclasses.replace(file, images=many), empty)
    for other in (
        dataclasses.replace(file, images=many[:500]),
        dataclasses.replace(file, images=tuple(dataclasses.replace(one, file_name=f"{one.id}.jpg") for one in many)),
        dataclasses.replace(file, images=many, categories={1: "apple"}),
        dataclasses.replace(file, images=many, categories={1: "car"}),
    ):
        with pytest.raises(DataError, match="images of .* are missing, .*; put them there") as error:
            check_images_exist(other, empty)
        assert "cvlibs" not in str(error.value)


def test_a_missing_split_of_other_data_is_named_without_kitti(manual_dir, tmp_path):
    content = json.loads((manual_dir / "update_train_2020.json").read_text())
    for category in content["categories"]:
        category["name"] += "s"
    (manual_dir / "update_train_2020.json").write_text(json.dumps(content))
    (manual_dir / "update_test_2020.json").unlink()
    message = fails_without_a_trace(manual_dir, tmp_path / "built", release="2020")
    assert "update_test_2020.json is missing" in message
    assert "both splits" in message
    assert "cvlibs.net" not in message


def test_a_cut_off_image_is_named(manual_dir, tmp_path):
    path = manual_dir / "training/image_2/000002.png"
    path.write_bytes(path.read_bytes()[:-20])
    assert "training/image_2/000002.png: the PNG file is truncated" in fails_without_a_trace(
        manual_dir, tmp_path / "built"
    )


def test_a_split_of_which_no_instance_is_left_is_named(manual_dir, tmp_path):
    def spoil(content):
        for annotation in content["annotations"]:
            annotation["a_segm"] = []

    change(manual_dir, spoil, split="test")
    assert "no instance of" in fails_without_a_trace(manual_dir, tmp_path / "built")


def test_dummy_data_is_what_its_script_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(make_dummy_data, "FOLDER", tmp_path)
    make_dummy_data.main()
    for path in DUMMY_DATA.rglob("*.json"):
        assert json.loads((tmp_path / path.relative_to(DUMMY_DATA)).read_text()) == json.loads(path.read_text())


def run_script(monkeypatch, *arguments):
    """Runs the script in this process: its exit status."""
    specification = importlib.util.spec_from_file_location("build_dataset", ROOT / "scripts" / "build_dataset.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["build_dataset.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        script.command_line.run(script.main)
    return exit_.value.code


def test_command_builds_reuses_and_replaces(manual_dir, tmp_path, monkeypatch, capsys):
    data_dir = tmp_path / "built"
    place = data_dir / "kins" / "1.1.0"
    command = ["kins", "--manual-dir", manual_dir, "--data-dir", data_dir]
    assert run_script(monkeypatch, *command) == 0
    output = capsys.readouterr().out
    assert str(place) in output
    assert "train: 3 images, 9 instances" in output
    written = place.stat().st_mtime_ns

    assert run_script(monkeypatch, *command) == 0
    assert "is there already" in capsys.readouterr().out
    assert place.stat().st_mtime_ns == written

    assert run_script(monkeypatch, *command, "--annotations", "2019") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "--overwrite" in error

    # A failing rebuild leaves what was there.
    change(manual_dir, lambda content: content["annotations"][0].update(a_segm=[]))
    assert run_script(monkeypatch, *command, "--overwrite", "--strict") == 1
    assert place.stat().st_mtime_ns == written
    assert [path.name for path in data_dir.iterdir()] == ["kins"]

    assert run_script(monkeypatch, *command, "--overwrite") == 0
    assert "train: 3 images, 8 instances" in capsys.readouterr().out
    assert run_script(monkeypatch, *command, "--strict") == 1


# What `tfds build` runs. The command's own entry imports Apache Beam, which TFDS does not bring and nothing here needs.
TFDS_BUILD = """
import sys, simple_parsing
from tensorflow_datasets.scripts.cli import build
parser = simple_parsing.ArgumentParser()
parser.add_arguments(build.Args, dest="build")
parser.parse_args(sys.argv[1:]).build.execute()
"""


def test_tfds_own_command_builds_it(tmp_path):
    """From the builder's folder, and without the repository on Python's path."""
    subprocess.run(
        [sys.executable, "-P", "-c", TFDS_BUILD, "--data_dir", tmp_path, "--manual_dir", DUMMY_DATA]
        + ["--download_config", json.dumps({"try_download_gcs": False})],
        cwd=ROOT / "data" / "kins",
        check=True,
    )
    assert_records_are_the_annotations(tmp_path / "kins" / "1.1.0", DUMMY_DATA, "2020")
