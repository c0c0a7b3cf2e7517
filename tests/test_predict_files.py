"""Image files in, overlays and json out, by the real network and by the script."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from pycocotools import mask as coco_mask

from amodal_jax.errors import CheckpointError, ConfigError, DataError
from amodal_jax.files.image_reader import read_image
from amodal_jax.masks.instance_map import KITTI_CLASS_IDS
from amodal_jax.network import build_network, initialise
from amodal_jax.predict import Predictor
from amodal_jax.predict_files import find_images, map_class_ids, predict_files
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from tests.helpers.micro import micro_config

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = micro_config()
    return Predictor(config, initialise(build_network(config), config, jax.random.key(0)))


@pytest.fixture(scope="module")
def run(predictor, tmp_path_factory) -> Path:
    """A run directory whose last and best checkpoint differ."""
    workdir = tmp_path_factory.mktemp("run")
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), "batch"), PartitionSpec())
    for kind, step, factor in (("last", 8, 1.0), ("best", 4, 0.5)):
        writer = CheckpointWriter(workdir, kind, predictor.config)
        variables = jax.tree.map(lambda x, factor=factor: np.asarray(x) * np.float32(factor), predictor._variables)
        variables, optimizer_state = jax.device_put((variables, {"count": np.zeros(1, np.float32)}), everywhere)
        writer.save(Checkpoint(step=step, variables=variables, optimizer_state=optimizer_state, position=None))
        writer.close()
    return workdir


def picture(channels: int = 3, dtype=np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    return np.random.default_rng(0).integers(0, top + 1, shape, dtype)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def test_the_json_is_what_the_predictor_found(predictor, tmp_path):
    image = write(tmp_path / "street.v1.png", picture())
    assert predict_files(predictor, [image], tmp_path / "out", score_threshold=0.0) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"street.v1.png", "street.v1.json"}
    content = json.loads((tmp_path / "out" / "street.v1.json").read_text())
    assert (content["file_name"], content["height"], content["width"]) == ("street.v1.png", HEIGHT, WIDTH)
    expected = predictor(read_image(image))
    names = expected.class_names
    found = content["instances"]
    assert [one["category_name"] for one in found] == [names[label] for label in expected.labels]
    x, y, width, height = np.array([one["bbox"] for one in found]).T
    np.testing.assert_allclose(np.stack([x, y, x + width, y + height], axis=1), expected.boxes, atol=2e-3)
    np.testing.assert_array_equal(np.float32([one["score"] for one in found]), expected.scores)
    np.testing.assert_array_equal(np.float32([one["occluded"] for one in found]), expected.occluded)
    for kind, masks in (("amodal", expected.amodal_masks), ("inmodal", expected.inmodal_masks)):
        decoded = [coco_mask.decode(one[f"{kind}_segmentation"]) for one in found]
        np.testing.assert_array_equal(np.stack(decoded).astype(bool), masks)


def test_the_score_threshold_is_that_of_the_overlay_alone(predictor, tmp_path):
    image = write(tmp_path / "street.png", picture())
    predict_files(predictor, [image], tmp_path / "all", score_threshold=0.0)
    predict_files(predictor, [image], tmp_path / "none", score_threshold=1.1)
    pixels = read_image(image)
    assert np.any(read_image(tmp_path / "all" / "street.png") != pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "none" / "street.png"), pixels)
    assert (tmp_path / "all" / "street.json").read_text() == (tmp_path / "none" / "street.json").read_text()


def test_instance_maps_are_the_visible_parts_best_on_top(predictor, tmp_path):
    image = write(tmp_path / "street.png", picture())
    found = predictor(read_image(image))
    threshold = float(np.sort(found.scores)[len(found.scores) // 2])
    ids = map_class_ids(predictor)
    assert predict_files(predictor, [image], tmp_path / "out", score_threshold=threshold, class_ids=ids) == 0
    drawn = cv2.imread(str(tmp_path / "out" / "instance" / "street.png"), cv2.IMREAD_UNCHANGED)
    assert drawn.dtype == np.uint16
    expected = np.zeros((HEIGHT, WIDTH), np.uint16)
    seen = dict.fromkeys(ids, 0)
    for label, score, mask in zip(found.labels, found.scores, found.inmodal_masks, strict=True):
        if score >= threshold:
            class_id = KITTI_CLASS_IDS[found.class_names[label]]
            seen[class_id] += 1
            expected[mask & (expected == 0)] = 256 * class_id + seen[class_id]
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(drawn, expected)


def test_class_ids_of_maps_are_kittis_or_the_networks_own(predictor):
    assert map_class_ids(predictor) == (25, 24, 26, 31, 27, 26, 30)
    assert map_class_ids(predictor, own=True) == tuple(range(1, 8))
    config = predictor.config
    fruit = dataclasses.replace(config.model, class_names=("apple", "car"))
    with pytest.raises(ConfigError, match="no label id for 'apple'; --class-ids own"):
        map_class_ids(Predictor(dataclasses.replace(config, model=fruit), {}))
    amodal = dataclasses.replace(config.model, heads=dataclasses.replace(config.model.heads, inmodal_mask=False))
    with pytest.raises(ConfigError, match="no inmodal masks"):
        map_class_ids(Predictor(dataclasses.replace(config, model=amodal), {}))


def test_images_of_every_kind(predictor, tmp_path):
    images = [
        write(tmp_path / "grey.png", picture(1)),
        write(tmp_path / "rgba.png", picture(4)),
        write(tmp_path / "grey16.png", picture(1, np.uint16)),
        write(tmp_path / "rgb16.png", picture(3, np.uint16)),
        write(tmp_path / "photo.JPG", picture()),
    ]
    assert predict_files(predictor, images, tmp_path / "out") == 0
    for path in images:
        assert read_image(tmp_path / "out" / f"{path.stem}.png").shape == (HEIGHT, WIDTH, 3)


def test_folders_give_their_images_in_order(tmp_path):
    for name in ("b.png", "a.jpg", "C.PNG"):
        write(tmp_path / "folder" / name, picture())
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / "folder" / name).write_text("no image")
    one = write(tmp_path / "one.png", picture())
    found = find_images([one, tmp_path / "folder", one])
    assert [path.name for path in found] == ["one.png", "C.PNG", "a.jpg", "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder has no images"):
        find_images([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"absent\.png: there is no such"):
        find_images([tmp_path / "absent.png"])


def test_names_that_collide_are_refused_before_anything_is_written(predictor, tmp_path):
    images = [write(tmp_path / folder / "000000.png", picture()) for folder in ("left", "right")]
    with pytest.raises(DataError, match=r"left/000000\.png and .*right/000000\.png"):
        predict_files(predictor, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_overlay_never_replaces_its_image(predictor, tmp_path):
    image = write(tmp_path / "street.png", picture())
    before = image.read_bytes()
    with pytest.raises(DataError, match=r"street\.png would lie among the images"):
        predict_files(predictor, [image], tmp_path)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["street.png"]


def predict(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "predict.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_one_bad_image_among_good_ones_is_reported_and_the_others_are_done(run, predictor, tmp_path):
    for index in range(5):
        write(tmp_path / "images" / f"{index}.png", picture())
    (tmp_path / "images" / "2.png").write_text("no picture")
    whole = (tmp_path / "images" / "3.png").read_bytes()
    (tmp_path / "images" / "3.png").write_bytes(whole[: len(whole) // 2])
    result = predict("--checkpoint", run, tmp_path / "images", "--out", tmp_path / "out")
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "2.png: is no image" in errors[0]
    assert "3.png: the PNG file is truncated" in errors[1]
    assert "Traceback" not in result.stderr
    assert f"3 of 5 images predicted into {tmp_path / 'out'}" in result.stdout
    names = {f"{index}.{suffix}" for index in (0, 1, 4) for suffix in ("png", "json")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    found = json.loads((tmp_path / "out" / "0.json").read_text())["instances"]
    expected = predictor(read_image(tmp_path / "images" / "0.png"))
    np.testing.assert_allclose([one["score"] for one in found], expected.scores, atol=1e-5)


def test_a_missing_checkpoint_is_one_line(tmp_path):
    image = write(tmp_path / "street.png", picture())
    result = predict("--checkpoint", tmp_path / "nowhere", image, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "nowhere" in result.stderr
    assert not (tmp_path / "out").exists()


def test_last_best_and_single_checkpoints(run, predictor, tmp_path):
    last = Predictor.from_checkpoint(run)
    best = Predictor.from_checkpoint(str(run), kind="best")
    single = Predictor.from_checkpoint(run / "checkpoints" / "best" / "4")
    for loaded, factor in ((last, 1.0), (best, 0.5), (single, 0.5)):
        assert loaded.config == predictor.config
        for one, other in zip(jax.tree.leaves(loaded._variables), jax.tree.leaves(predictor._variables), strict=True):
            np.testing.assert_array_equal(one, np.asarray(other) * np.float32(factor))
    with pytest.raises(CheckpointError, match="nowhere"):
        Predictor.from_checkpoint(tmp_path / "nowhere")
