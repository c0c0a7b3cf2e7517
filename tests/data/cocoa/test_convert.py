"""COCO-Amodal to KINS json: on a made-up pair of images, and on real ones where they are at hand."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from pycocotools import mask as coco_mask

from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from amodal_jax.masks.crops import crop_mask, unpack_crop
from data.cocoa.convert import convert, normalised_name
from data.kins.kins_dataset_builder import REPORT_FILE, Builder
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS

ROOT = Path(__file__).parents[3]
HEIGHT, WIDTH = 30, 40


def rectangle(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def region(name, order, box, visible=None, stuff=0):
    entry = {"name": name, "order": order, "isStuff": stuff, "segmentation": rectangle(*box), "occlude_rate": 0}
    if visible is not None:
        mask = np.zeros((HEIGHT, WIDTH), bool)
        x1, y1, x2, y2 = visible
        mask[y1:y2, x1:x2] = True
        entry["visible_mask"] = segmentation.encode(mask)
    return entry


def write_image(folder, stem, image_id, regions):
    cv2.imwrite(str(folder / f"{stem}.png"), np.full((HEIGHT, WIDTH, 3), image_id, np.uint8))
    (folder / f"{stem}.json").write_text(json.dumps({"image_id": image_id, "regions": regions}))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "cocoa"
    folder.mkdir()
    # Listed out of depth order on purpose.
    regions = [
        region("plate", 3, (5, 5, 25, 15), visible=(15, 5, 25, 15)),
        region(" Cup", 1, (2, 2, 15, 20)),
        region("table  Cloth", 4, (0, 0, 40, 30), visible=(25, 0, 40, 30), stuff=1),
        region("cup ", 7, (30, 20, 36, 26)),
    ]
    write_image(folder, "first", 11, regions)
    write_image(folder, "second", 12, [region("plate", 1, (5, 5, 25, 15)), region("dish", 2, (30, 5, 35, 15))])
    return folder


def read(out, split):
    return json.loads((out / ANNOTATION_FILES["2020"][split]).read_text())


def test_all_names_may_be_one_class(source, tmp_path):
    """Whatever regions are called; masks and orders are as they are with classes."""
    out, other = tmp_path / "out", tmp_path / "other"
    summary = convert(source, out, test_fraction=None, one_class="object")
    assert {name: sum(names.values()) for name, names in summary.names.items()} == {"object": 5}
    convert(source, other, test_fraction=None)
    (category,) = read(out, "train")["categories"]
    assert category["name"] == "object"
    found, expected = read(out, "train")["annotations"], read(other, "train")["annotations"]
    assert {one["category_id"] for one in found} == {category["id"]}
    assert len({one["category_id"] for one in expected}) == 3
    assert found == [one | {"category_id": category["id"]} for one in expected]


def test_both_splits_may_hold_all_images(source, tmp_path):
    out = tmp_path / "out"
    summary = convert(source, out, test_fraction=None)
    assert summary.images == {"train": 2, "test": 2}
    assert summary.instances == {"train": 5, "test": 5}
    assert summary.stuff_left_out == 1
    assert summary.flaws == ()
    assert summary.names == {
        "cup": Counter({" Cup": 1, "cup ": 1}),
        "dish": Counter({"dish": 1}),
        "plate": Counter({"plate": 2}),
    }
    assert read(out, "train") == read(out, "test")
    for folder in IMAGE_FOLDERS.values():
        for name in ("first.png", "second.png"):
            assert (out / folder / name).read_bytes() == (source / name).read_bytes()


def test_masks_orders_and_clusters(source, tmp_path):
    convert(source, tmp_path / "out", test_fraction=None)
    content = read(tmp_path / "out", "train")
    assert [category["name"] for category in content["categories"]] == ["cup", "dish", "plate"]
    plate, cup, other_cup = (entry for entry in content["annotations"] if entry["image_id"] == 11)
    assert plate["a_bbox"] == [5, 5, 20, 10]
    assert plate["i_bbox"] == [15, 5, 10, 10]
    assert cup["i_segm"] == cup["a_segm"]
    assert (cup["ico_id"], plate["ico_id"], other_cup["ico_id"]) == (1, 2, 0)
    assert cup["oco_id"] == plate["oco_id"] != other_cup["oco_id"]


def test_stuff_is_kept_on_request_and_names_are_joined(source, tmp_path):
    summary = convert(source, tmp_path / "out", test_fraction=None, include_stuff=True, renames={"dish": "plate"})
    assert summary.stuff_left_out == 0
    assert list(summary.names) == ["cup", "plate", "table cloth"]
    assert normalised_name("  Water\tGlass ", {"water glass": "glass"}) == "glass"


def test_a_share_of_the_images_for_the_test_split(source, tmp_path):
    for index in range(8):
        write_image(source, f"more{index}", 20 + index, [region("cup", 1, (2, 2, 15, 20))])
    convert(source, tmp_path / "a", test_fraction=0.3)
    convert(source, tmp_path / "b", test_fraction=0.3)
    ids = {split: {image["id"] for image in read(tmp_path / "a", split)["images"]} for split in ("train", "test")}
    assert len(ids["test"]) == 3
    assert len(ids["train"]) == 7
    assert not ids["train"] & ids["test"]
    assert ids["test"] == {image["id"] for image in read(tmp_path / "b", "test")["images"]}


def test_images_may_be_linked(source, tmp_path):
    for again in (False, True):
        convert(source, tmp_path / "out", test_fraction=None, link_images=True, force=again)
    assert (tmp_path / "out/training/image_2/first.png").resolve() == (source / "first.png").resolve()


def test_what_is_there_stays_without_force(source, tmp_path):
    out = tmp_path / "out"
    convert(source, out, test_fraction=None)
    (out / "notes.txt").write_text("mine")
    before = read(out, "train")
    (source / "first.json").unlink()
    with pytest.raises(DataError, match="out is there already"):
        convert(source, out, test_fraction=None)
    assert read(out, "train") == before
    convert(source, out, test_fraction=None, force=True)
    assert len(read(out, "train")["images"]) == 1
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("link", [False, True])
def test_images_that_lie_in_their_place_stay_there(source, tmp_path, link):
    """Annotations beside the images of the very folder that is written, as in a copy of KITTI."""
    folder = tmp_path / "out" / IMAGE_FOLDERS["train"]
    folder.parent.mkdir(parents=True)
    source.rename(folder)
    picture = (folder / "first.png").read_bytes()
    convert(folder, tmp_path / "out", test_fraction=None, link_images=link, force=True)
    assert not (folder / "first.png").is_symlink()
    assert (folder / "first.png").read_bytes() == picture
    assert (tmp_path / "out" / IMAGE_FOLDERS["test"] / "first.png").read_bytes() == picture


@pytest.mark.parametrize(("stuff", "kept"), [(0, 5), (0.0, 5), (False, 5), (1, 4), (1.0, 4), (True, 4)])
def test_stuff_is_what_it_says_however_it_is_written(source, tmp_path, stuff, kept):
    content = json.loads((source / "second.json").read_text())
    content["regions"][0] |= {"isStuff": stuff, "order": 1.0}
    content["image_id"] = 12.0
    (source / "second.json").write_text(json.dumps(content))
    assert convert(source, tmp_path / "out", test_fraction=None).instances["train"] == kept


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        *(("isStuff", value, "'isStuff' is neither true nor false") for value in ("0", "false", 2, float("nan"), None)),
        *(("order", value, "has no whole number under 'order'") for value in ("1", True, 1.5, None)),
    ],
)
def test_what_says_nothing_is_named_and_not_guessed(source, tmp_path, field, value, words):
    content = json.loads((source / "second.json").read_text())
    content["regions"][1][field] = value
    (source / "second.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"second\.json: region 2.*{words}"):
        convert(source, tmp_path / "out", test_fraction=None)


def test_what_is_hidden_says_what_is_visible(source, tmp_path):
    content = json.loads((source / "first.json").read_text())
    visible = content["regions"][0].pop("visible_mask")
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[5:15, 5:15] = True
    content["regions"][0] |= {"invisible_mask": segmentation.encode(pixels), "occlude_rate": 0.5}
    content["regions"][3] |= {"visible_mask": [], "occlude_rate": 1}
    (source / "first.json").write_text(json.dumps(content))
    summary = convert(source, tmp_path / "out", test_fraction=None)
    plate, _, cup = read(tmp_path / "out", "train")["annotations"][:3]
    assert plate["i_segm"] == visible
    assert cup["i_area"] == 0
    assert [flaw.split(": ", 1)[1] for flaw in summary.flaws] == [
        "region 4: inmodal mask without a pixel: kept, as wholly hidden"
    ]


def test_flawed_regions_are_named(source, tmp_path):
    content = json.loads((source / "second.json").read_text())
    content["regions"][0]["segmentation"] = [1, 2, 3, 4]
    content["regions"][1]["visible_mask"] = {"size": [3, 3], "counts": "1"}
    (source / "second.json").write_text(json.dumps(content))
    summary = convert(source, tmp_path / "out", test_fraction=None)
    assert summary.instances["train"] == 4
    assert len(summary.flaws) == 4
    assert all("second.json: region" in flaw for flaw in summary.flaws)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "first.json").write_text("{"), r"first\.json"),
        (lambda folder: (folder / "first.json").write_text('{"image_id": 1}'), "'regions'"),
        (lambda folder: (folder / "first.json").write_text('{"image_id": 1, "regions": [{"name": "a"}]}'), "'order'"),
        (
            lambda folder: (folder / "first.json").write_text('{"image_id": 1, "regions": [5]}'),
            "region 1: the key 'name'",
        ),
        (lambda folder: (folder / "first.json").write_text("[" * 200_000), r"first\.json: is no complete json file"),
        (lambda folder: (folder / "first.png").unlink(), r"first\.json has no image"),
        (lambda folder: (folder / "first.png").write_bytes(b"x"), r"first\.png"),
        (lambda folder: write_image(folder, "third", 12, []), "image_id 12"),
        (lambda folder: [path.unlink() for path in folder.glob("*.json")], "no folder with json files"),
    ],
)
def test_what_cannot_be_converted_is_named_and_nothing_written(source, tmp_path, spoil, words):
    spoil(source)
    with pytest.raises(DataError, match=words):
        convert(source, tmp_path / "out", test_fraction=None)
    assert not (tmp_path / "out").exists()


def test_a_split_without_images_is_refused(source, tmp_path):
    with pytest.raises(DataError, match="the test split would have 0 images"):
        convert(source, tmp_path / "out", test_fraction=0.1)
    assert not (tmp_path / "out").exists()


def test_command_says_what_names_became(source, tmp_path, monkeypatch, capsys):
    specification = importlib.util.spec_from_file_location("dataset", ROOT / "scripts" / "dataset.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)

    def run(*options):
        command = ["dataset.py", "from-cocoa", str(source), "--out", str(tmp_path / "out"), *options]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as exit_:
            script.command_line.run(script.main)
        return exit_.value.code, capsys.readouterr()

    code, output = run("--same-images", "--rename", "Dish=plate")
    assert code == 0
    assert "plate: 'plate' x 2, 'dish' x 1" in output.out
    assert "1 regions marked as stuff were left out" in output.out
    code, output = run("--same-images", "--force", "--one-class")
    assert code == 0
    assert "1 class: object\n" in output.out
    assert "plate" not in output.out
    both = ["--one-class", "thing", "--rename", "dish=plate"]
    for options in (["--rename", "dish"], ["--test-fraction", "1"], ["--one-class", " "], both):
        code, output = run(*options)
        assert code == 1
        assert output.err.startswith("error: --")


def test_real_images_through_the_builder(sample_data, tmp_path):
    """Every mask, box and crop of the records against the COCOA files, with masks drawn anew by pycocotools."""
    folder = sample_data / "cocoa"
    convert(folder, tmp_path / "kins", test_fraction=None)
    builder = Builder(data_dir=tmp_path / "built")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "kins", try_download_gcs=False)
    )
    report = json.loads((Path(builder.data_path) / REPORT_FILE).read_text())
    assert all(not counts["problems"] for counts in report["splits"].values())
    reader = tfds.builder_from_directory(builder.data_path)
    names = reader.info.features["objects"]["label"].names
    for split in ("train", "test"):
        examples = reader.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        records = {int(example["image/id"]): example for example in tfds.as_numpy(examples)}
        for path in folder.glob("*.json"):
            content = json.loads(path.read_text())
            record = records.pop(content["image_id"])
            assert record["image"] == path.with_suffix(".jpg").read_bytes()
            height, width = int(record["image/height"]), int(record["image/width"])
            objects = record["objects"]
            regions = [entry for entry in content["regions"] if not entry["isStuff"]]
            assert len(objects["label"]) == len(regions)
            for i, entry in enumerate(regions):
                assert names[objects["label"][i]] == entry["name"].strip().lower()
                amodal = coco_mask.decode(coco_mask.frPyObjects([entry["segmentation"]], height, width))[..., 0] > 0
                visible = amodal
                if "visible_mask" in entry:
                    visible = coco_mask.decode(entry["visible_mask"]) > 0
                    hidden = coco_mask.decode(entry["invisible_mask"]) > 0
                    np.testing.assert_array_equal(visible | hidden, amodal)
                y1, x1, y2, x2 = np.round(objects["amodal_bbox"][i] * [height, width, height, width]).astype(int)
                assert amodal[y1:y2, x1:x2].sum() == amodal.sum()
                for field, mask in (("amodal", amodal), ("inmodal", visible)):
                    rle = {"size": [height, width], "counts": objects[f"{field}_rle"][i]}
                    np.testing.assert_array_equal(coco_mask.decode(rle) > 0, mask)
                    crop = crop_mask(mask, np.array([x1, y1, x2, y2], float))
                    np.testing.assert_array_equal(unpack_crop(objects[f"{field}_crop"][i]), crop)
                ratio = 1 - visible.sum() / amodal.sum()
                np.testing.assert_allclose(objects["occlusion_ratio"][i], ratio, atol=1e-6)
        assert not records
