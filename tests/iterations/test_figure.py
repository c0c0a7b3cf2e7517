"""Figure 5 of a run with several checkpoints, by the real network and by the script."""

import contextlib
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

from amodal_jax.errors import ConfigError, DataError
from amodal_jax.files.image_reader import read_image
from amodal_jax.iterations.figure import write_figure
from amodal_jax.network import build_network, initialise
from amodal_jax.predict import Predictor
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from tests.helpers.micro import loud, micro_config

ROOT = Path(__file__).resolve().parents[2]
STEPS = [2, 4, 10]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that has kept three checkpoints."""
    workdir = tmp_path_factory.mktemp("run")
    config = micro_config()
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, keep_checkpoints=3))
    variables = jax.device_get(loud(initialise(build_network(config), config, jax.random.key(0)), 0.5))
    everywhere = NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec())
    with contextlib.closing(CheckpointWriter(workdir, "last", config)) as writer:
        for step in STEPS:
            scaled = jax.tree.map(lambda x, step=step: x * np.float32(1 + step / 300), variables)
            writer.save(Checkpoint(step, jax.device_put(scaled, everywhere), None, None))
    return workdir


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "street.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    return path


def test_every_checkpoint_is_measured_and_some_are_drawn(run, image, tmp_path):
    assert write_figure(run, [image], tmp_path, panels=2, score_threshold=0.0) == STEPS
    assert {path.name for path in tmp_path.iterdir()} == {
        *("street.png", "hidden_area.svg", "amodal_area.svg", "areas.json")
    }
    objects = json.loads((tmp_path / "areas.json").read_text())["street"]
    last = Predictor.from_checkpoint(run)(read_image(image))
    assert len(objects) == len(last.scores) > 0
    for index, one in enumerate(objects):
        assert list(one["steps"]) == [str(step) for step in STEPS]
        assert one["category_name"] == last.class_names[last.labels[index]]
        final = one["steps"]["10"]
        assert final["score"] == pytest.approx(float(last.scores[index]), abs=1e-5)
        assert final["amodal_area"] == np.count_nonzero(last.amodal_masks[index])
        hidden = last.amodal_masks[index] & ~last.inmodal_masks[index]
        assert final["hidden_area"] == np.count_nonzero(hidden)
    assert any(one["steps"]["2"] not in (None, one["steps"]["10"]) for one in objects)
    # Two pictures side by side, each under a line of text.
    strip = read_image(tmp_path / "street.png")
    assert strip.shape == (26 + 60, 90 + 13 + 90, 3)
    assert np.any(strip[26:, :90] != strip[26:, -90:])


def test_nothing_to_follow_has_no_curves_and_leaves_none_of_before(run, image, tmp_path):
    for name in ("hidden_area.svg", "amodal_area.svg"):
        (tmp_path / name).write_text("of before")
    write_figure(run, [image], tmp_path, score_threshold=1.1)
    assert {path.name for path in tmp_path.iterdir()} == {"street.png", "areas.json"}
    assert json.loads((tmp_path / "areas.json").read_text()) == {"street": []}


def test_images_of_one_name_are_refused(run, image, tmp_path):
    with pytest.raises(DataError, match="two images are called street"):
        write_figure(run, [image, tmp_path / "street.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_several_checkpoints_is_told_what_keeps_them(image, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="has 0 checkpoints.*keep-checkpoints"):
        write_figure(tmp_path / "run", [image], tmp_path / "out")
    command = [sys.executable, str(ROOT / "scripts" / "figure5.py"), str(tmp_path / "run"), str(image), "--out", "out"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert finished.returncode == 1
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stderr.startswith("error: ")
    assert "--train.keep-checkpoints" in finished.stderr
