"""An export of a real network, used as one uses it: without this package, and in place of a run."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.errors import CheckpointError, ConfigError
from amodal_jax.export import PLATFORMS, export_network
from amodal_jax.export_runner import ExportedNetwork
from amodal_jax.network import build_network, initialise
from amodal_jax.predict import Predictor
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_reader import load_checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.runs.directory import write_config
from amodal_jax.structures import Instances
from tests.helpers.full_disk import files_limited_to
from tests.helpers.micro import micro_config

ROOT = Path(__file__).resolve().parents[1]
FILES = ["config.json", "detect.jax_export", "export.json", "image_framing.py", "parameters.safetensors", "run.py"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = micro_config()
    return Predictor(config, initialise(build_network(config), config, jax.random.key(0)))


@pytest.fixture(scope="module")
def exported(predictor, tmp_path_factory) -> Path:
    """A network of step 7, exported from a run by the script for two images at a time."""
    workdir = tmp_path_factory.mktemp("run")
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), "batch"), PartitionSpec())
    variables = jax.tree.map(np.asarray, predictor._variables)
    variables, optimizer_state = jax.device_put((variables, {"count": np.zeros(1, np.float32)}), everywhere)
    writer = CheckpointWriter(workdir, "last", predictor.config)
    writer.save(Checkpoint(step=7, variables=variables, optimizer_state=optimizer_state, position=None))
    writer.close()
    out = workdir / "exports" / "first"
    changed = ("--evaluation.max-detections", 8, "--evaluation.mask-paste", "torchvision")
    result = script("--checkpoint", workdir, "--out", out, "--batch-size", 2, *changed)
    assert result.returncode == 0, result.stderr
    assert "checkpoint of step 7: images of up to 64 x 96 pixels, 2 at a time, on cpu, cuda" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["first"]
    shutil.rmtree(workdir / "checkpoints")  # the export needs nothing of it
    return out


def script(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "export.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(found, expected: Instances) -> None:
    """What an export finds, and what a predictor does; they are compiled apart, which rounds in another order."""
    assert len(expected) > 0
    np.testing.assert_allclose(found["boxes"], expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found["labels"], expected.labels)
    np.testing.assert_allclose(found["occluded"], expected.occluded, atol=1e-5)
    for name in ("amodal_masks", "inmodal_masks"):
        masks, others = found[name], getattr(expected, name)
        assert (masks.dtype, masks.shape) == (others.dtype, others.shape)
        assert np.mean(masks != others) < 1e-3


def run_alone(folder: Path, *arguments) -> subprocess.CompletedProcess:
    """Runs an export's script where only jax, flatbuffers and NumPy (and what they need) can be imported."""
    absent = ("amodal_jax", "flax", "optax", "orbax", "cv2", "pycocotools", "safetensors", "jaxtyping", "tensorflow")
    program = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({absent!r}))
sys.argv = {["run.py", *map(str, arguments)]!r}
runpy.run_path({str(folder / "run.py")!r}, run_name="__main__")
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_script_beside_it_finds_what_the_predictor_finds(exported, predictor, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(exported, folder)
    images = {f"{index}": noise(*size, index) for index, size in enumerate([(60, 90), (64, 96), (58, 91)])}
    for name, image in images.items():
        np.save(tmp_path / f"{name}.npy", image)
    result = run_alone(folder, *(tmp_path / f"{name}.npy" for name in images), "--out", tmp_path / "found")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["0.npz", "1.npz", "2.npz"]
    changed = dataclasses.replace(predictor.config.evaluation, max_detections=8, mask_paste="torchvision")
    alike = Predictor(dataclasses.replace(predictor.config, evaluation=changed), predictor._variables)
    for name, image in images.items():
        found = np.load(tmp_path / "found" / f"{name}.npz")
        assert_same(found, alike(image))
        assert tuple(found["class_names"]) == predictor.config.model.class_names
        assert f"{name}.npz: {len(found['scores'])} objects" in result.stdout


def test_the_script_beside_it_says_what_is_wrong_in_a_line(exported, tmp_path):
    np.save(tmp_path / "large.npy", noise(65, 96, 0))
    result = run_alone(exported, tmp_path / "large.npy", "--out", tmp_path / "found")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"error: {tmp_path / 'large.npy'} has 65 x 96 pixels, and the network was exported for up to 64 x 96; "
        "export it again with --height and --width, or make the image smaller"
    ]
    assert list((tmp_path / "found").iterdir()) == []


def test_an_image_that_cannot_be_read_does_not_keep_the_others_from_it(exported, tmp_path):
    """As with scripts/predict.py: each is named in a line, and the exit status says that there was one."""
    image = noise(60, 90, 0)
    for name in ("first.png", "second.png", "whole.jpg"):
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "empty.png").touch()
    (tmp_path / "empty_array.npy").touch()
    (tmp_path / "text.png").write_text("no image")
    for name, whole in (("cut.png", "first.png"), ("torn.jpg", "whole.jpg")):
        (tmp_path / name).write_bytes((tmp_path / whole).read_bytes()[:-100])
    np.save(tmp_path / "floats.npy", image / 255)
    np.save(tmp_path / "large.npy", noise(65, 96, 0))
    bad = {
        "empty.png": "the file is empty",
        "empty_array.npy": "the file is empty",
        "cut.png": "the PNG file is truncated; copy or download the file again",
        "torn.jpg": "the JPEG file is truncated; copy or download the file again",
        "text.png": "is no image, is damaged, or is of a kind that OpenCV does not read",
        "absent.png": "cannot be read: No such file or directory",
        "floats.npy": "float64 (60, 90, 3); pass uint8 RGB [height, width, 3]",
        "large.npy": "has 65 x 96 pixels",
    }
    names = [*list(bad)[:3], "first.png", *list(bad)[3:], "second.png"]
    command = [sys.executable, exported / "run.py", *(tmp_path / name for name in names), "--out", tmp_path / "found"]
    result = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    for line, (name, reason) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"error: {tmp_path / name}")
        assert reason in line
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["first.npz", "second.npz"]
    assert result.stdout.splitlines()[-1] == "2 of 10 images were read"


def test_the_folder_stands_in_for_a_run(exported, predictor):
    config, variables, step = load_checkpoint(exported)
    assert step == 7
    assert (config.evaluation.max_detections, config.evaluation.mask_paste) == (8, "torchvision")
    assert dataclasses.replace(config, evaluation=predictor.config.evaluation) == predictor.config
    assert jax.tree.structure(variables) == jax.tree.structure(predictor._variables)
    for one, other in zip(jax.tree.leaves(variables), jax.tree.leaves(predictor._variables), strict=True):
        np.testing.assert_array_equal(one, other)
    assert Predictor.from_checkpoint(str(exported)).config == config
    with pytest.raises(CheckpointError, match="is an export, which holds one checkpoint and no best one"):
        load_checkpoint(exported, kind="best")


def test_flip_is_part_of_what_is_exported(predictor, tmp_path):
    evaluation = dataclasses.replace(predictor.config.evaluation, flip=True)
    flipping = Predictor(dataclasses.replace(predictor.config, evaluation=evaluation), predictor._variables)
    folder, image = tmp_path / "flipping", noise(60, 90, seed=3)
    export_network(flipping.config, predictor._variables, 7, folder, platforms=("cpu",))
    (found,) = ExportedNetwork(folder)([image])
    expected = flipping(image)
    assert_same(found, expected)
    assert not np.allclose(expected.scores, predictor(image).scores, atol=1e-4)
    assert Predictor.from_checkpoint(folder).config == flipping.config
    assert Predictor.from_checkpoint(folder, flip=False).config == predictor.config


def test_another_canvas_for_every_platform(predictor, tmp_path):
    config = export_network(
        predictor.config, predictor._variables, 3, tmp_path / "out", platforms=PLATFORMS, canvas=(70, 120)
    )
    assert (config.data.canvas_height, config.data.canvas_width) == (70, 120)
    assert (config.model.input.height, config.model.input.width) == (64, 96)
    sheet = json.loads((tmp_path / "out" / "export.json").read_text())
    assert sheet == {
        "class_names": list(config.model.class_names),
        "mask_threshold": 0.5,
        "mask_paste": "pixel_centres",
        "batch_size": 1,
        "height": 70,
        "width": 120,
        "short_side": 64,
        "long_side": 96,
        "input_height": 64,
        "input_width": 96,
        "platforms": list(PLATFORMS),
        "jax_version": jax.__version__,
    }
    network = ExportedNetwork(tmp_path / "out")
    image = noise(70, 120, 5)
    (found,) = network([image])
    assert_same(found, Predictor.from_checkpoint(tmp_path / "out")(image))
    assert network([]) == []
    with pytest.raises(ValueError, match=r"image 1 is float32 \(5, 6, 3\); pass uint8 RGB"):
        network([image, np.zeros((5, 6, 3), np.float32)])
    with pytest.raises(ValueError, match=r"image 0 of 70 x 60 pixels becomes 74 x 64 in the network, .* to 64 x 96;"):
        network([noise(70, 60, 0)])
    with pytest.raises(ValueError, match=r"image 0 has 0 x 6 pixels"):
        network([np.zeros((0, 6, 3), np.uint8)])


def test_no_path_of_this_machine_is_in_it(exported):
    for path in exported.iterdir():
        content = path.read_bytes()
        for folder in (ROOT, Path(jax.__file__).parents[1], Path.home()):
            assert f"{folder}/".encode() not in content, path.name


def test_a_damaged_network_is_named(exported, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(exported, folder)
    path = folder / "detect.jax_export"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"detect\.jax_export: cannot be read by jax {jax.__version__}"):
        ExportedNetwork(folder)
    path.unlink()
    with pytest.raises(OSError, match=r"detect\.jax_export"):
        ExportedNetwork(folder)
    for text in ("", "[]", "{}"):
        (folder / "export.json").write_text(text)
        with pytest.raises(ValueError, match=r"export\.json: is damaged .* export it again"):
            ExportedNetwork(folder)


def test_parameters_without_their_configuration_or_with_another(exported, predictor, tmp_path):
    shutil.copy(exported / "parameters.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match=r"has parameters\.safetensors, but no config\.json beside it"):
        load_checkpoint(tmp_path)
    heads = dataclasses.replace(predictor.config.model.heads, inmodal_mask=False)
    model = dataclasses.replace(predictor.config.model, heads=heads)
    write_config(tmp_path, dataclasses.replace(predictor.config, model=model))
    with pytest.raises(CheckpointError, match=r"inmodal_mask_head/\S+ is float32 .* in the file and absent"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platforms": ("cpu", "gpu")}, 'there is no platform "gpu"; known are cpu, cuda, rocm, tpu'),
        ({"platforms": ()}, "at least one"),
        ({"platforms": ("cpu", "cpu")}, "none of them twice"),
        ({"batch_size": 0}, "the batch size must be positive, not 0"),
        ({"canvas": (0, 96)}, "height and width must be positive, not 0 and 96"),
    ],
)
def test_what_cannot_be_exported_writes_nothing(predictor, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        export_network(predictor.config, predictor._variables, 0, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_replaced(predictor, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ConfigError, match=f"{path}: is there already; name another folder, or remove it"):
            export_network(predictor.config, predictor._variables, 0, path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_full_disk_leaves_nothing(predictor, tmp_path):
    with files_limited_to(50_000), pytest.raises(OSError, match=rf"File too large: '{tmp_path}/out'"):
        export_network(predictor.config, predictor._variables, 0, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "nowhere"], "nowhere: there is no such folder"),
        (["--checkpoint", "nowhere", "--model.fpn-channels", "3"], "--model.fpn-channels cannot be set"),
    ],
)
def test_what_the_script_cannot_use_is_one_line(tmp_path, arguments, message):
    result = script(*arguments, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
