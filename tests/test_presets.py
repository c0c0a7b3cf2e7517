"""Presets of datasets: what they change in a configuration, in which order, and that real images fit them."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest

import amodal_jax.train
from amodal_jax.canvas import check_input_canvas, input_canvas
from amodal_jax.config import Config
from amodal_jax.config_json import from_json, override, to_json, to_values
from amodal_jax.errors import ConfigError
from amodal_jax.input_pipeline.batches import training_batches
from amodal_jax.input_pipeline.records import dataset_categories, split_size
from amodal_jax.runs.checkpoint_writer import write_network
from amodal_jax.training.start import with_class_names
from configs import config_names, load_config
from configs.presets import BATCH_SIZE, load_preset, preset_names
from data.cocoa.convert import convert as convert_cocoa
from data.d2sa.convert import convert as convert_d2sa
from tests.helpers.every_network import every_config
from tests.helpers.tiny_scenes import TRAIN_IMAGE_COUNT, build_dataset
from tests.helpers.transfers import random_variables

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("short_side", "long_side", "height", "width")


def flat(values: dict, prefix: str = "") -> dict:
    """The fields of a configuration by their full names."""
    found = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def changes(config: Config, other: Config) -> set[str]:
    before, after = (flat(to_values(one)) for one in (config, other))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("preset", preset_names())
def test_it_goes_with_every_network_and_leaves_it_as_it_is(preset):
    for name in config_names():
        config = load_config(name)
        changed = load_preset(preset).apply(config, 1000)
        assert from_json(to_json(changed)) == changed
        assert {field.split(".")[0] for field in changes(config, changed)} == {"data", "model", "train"}
        in_model = {field for field in changes(config, changed) if field.startswith("model.")}
        assert in_model <= {"model.class_names", *(f"model.input.{one}" for one in SIZES)}


@pytest.mark.parametrize("preset", preset_names())
def test_its_input_canvas_is_the_least_that_holds_its_images(preset):
    config = load_preset(preset).apply(Config(), 1000)
    height, width = config.data.canvas_height, config.data.canvas_width
    shapes = [(height, width)] if height != width else [(height, side) for side in (height // 2, height)]
    needed = [input_canvas(shape, config.model.input, shared=False) for shape in shapes]
    needed += [(w, h) for h, w in needed] if height == width else []
    assert config.model.input.height == max(h for h, _ in needed)
    assert config.model.input.width == max(w for _, w in needed)


@pytest.mark.parametrize(
    ("preset", "images", "steps", "decays", "rate"),
    [
        ("cocoa_cls", 2476, 9904, (4952, 7923), 5e-4),  # published: 10 000 steps, decays at 5000 and 8000
        ("cocoa", 5, 20, (10, 16), 5e-4),
        ("d2sa", 7778, 70_002, (40_001, 60_002), 5e-3),  # published: 70 000 steps, decays at 40 000 and 60 000
        ("d2sa", 1, 9, (5, 8), 5e-3),
    ],
)
def test_its_schedule_is_in_epochs_of_the_dataset(preset, images, steps, decays, rate):
    train = load_preset(preset).apply(load_config("asn_tiny"), images).train
    assert (train.batch_size, train.steps, train.decay_steps) == (2, steps, decays)
    assert (train.optimizer, train.schedule, train.learning_rate) == ("sgd", "step", rate)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match='"coca": did you mean cocoa.* known are cocoa, cocoa_cls, d2sa'):
        load_preset("coca")


def script(name: str):
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def trained(monkeypatch):
    """Runs scripts/train.py up to the training, and gives the configuration of that."""

    def run(*words) -> Config:
        found = []
        monkeypatch.setattr(amodal_jax.train, "train", lambda config, workdir, init: found.append(config))
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, words)])
        script("train").main()
        return found[0]

    return run


def test_the_order_is_configuration_preset_weights_options(trained, tiny_dataset, tmp_path):
    """Weights have no field in common with a preset; an option goes before both."""
    weights = every_config("orcnn")
    model = dataclasses.replace(
        weights.model,
        input=dataclasses.replace(weights.model.input, channel_order="bgr"),
        roi=dataclasses.replace(weights.model.roi, aligned=True),
    )
    weights = dataclasses.replace(weights, model=model)
    write_network(tmp_path / "weights", weights, random_variables(weights, 0))
    command = ("orcnn_r50_fpn", "--workdir", tmp_path / "run", "--data.directory", tiny_dataset, "--preset", "d2sa")

    config = load_config("orcnn_r50_fpn")
    expected = override(config, ["--data.directory", str(tiny_dataset)])
    preset = trained(*command)
    assert preset == load_preset("d2sa").apply(expected, TRAIN_IMAGE_COUNT)
    assert preset.train.steps == 18 * TRAIN_IMAGE_COUNT // BATCH_SIZE

    started = trained(*command, "--init", tmp_path / "weights")
    of_weights = changes(preset, started)
    assert {"model.input.channel_order", "model.roi.aligned"} <= of_weights
    assert not of_weights & changes(expected, preset)

    options = ["--train.steps", "7", "--model.roi.aligned", "false", "--model.input.short-side", "400"]
    assert trained(*command, "--init", tmp_path / "weights", *options) == override(started, options)


def test_a_command_line_refuses_an_unknown_preset(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "asn_tiny", "--workdir", str(tmp_path / "run"), "--preset", "coco"])
    train = script("train")
    with pytest.raises(SystemExit) as ended:
        train.command_line.run(train.main)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: unknown preset "coco"')
    assert not (tmp_path / "run").exists()


def as_d2sa(folder: Path, place: Path) -> Path:
    """COCOA's files of single images as one file in D2SA's form."""
    import cv2

    content: dict = {"images": [], "categories": [], "annotations": []}
    ids: dict[str, int] = {}
    for path in sorted(folder.glob("*.json")):
        file = json.loads(path.read_text())
        height, width = cv2.imread(str(path.with_suffix(".jpg"))).shape[:2]
        image = {"id": file["image_id"], "file_name": f"{path.stem}.jpg", "height": height, "width": width}
        content["images"].append(image)
        for region in file["regions"]:
            if region["isStuff"]:
                continue
            name = region["name"].strip().lower()
            xs, ys = region["segmentation"][::2], region["segmentation"][1::2]
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": file["image_id"],
                    "category_id": ids.setdefault(name, len(ids) + 1),
                    "segmentation": [region["segmentation"]],
                    "bbox": box,
                    "area": region["area"],
                    "iscrowd": 0,
                    **{key: region[key] for key in ("visible_mask", "invisible_mask") if key in region},
                }
            )
    content["categories"] = [{"id": number, "name": name} for name, number in ids.items()]
    place.write_text(json.dumps(content))
    return place


@pytest.mark.parametrize("preset", preset_names())
def test_real_images_in_each_form_fit_it(preset, sample_data, tmp_path):
    """Five of COCOA's: of the classes that they are called, of one class, and in D2SA's form."""
    folder, kins = sample_data / "cocoa", tmp_path / "kins"
    if preset == "d2sa":
        file = as_d2sa(folder, tmp_path / "training.json")
        convert_d2sa([file], [folder], kins, test_fraction=None)
    else:
        convert_cocoa(folder, kins, test_fraction=None, one_class="object" if preset == "cocoa" else None)
    directory = build_dataset(kins, tmp_path / "built")
    config = override(Config(), ["--data.directory", str(directory)])
    config = load_preset(preset).apply(config, split_size(config, "train"))
    if preset == "d2sa":  # one of the five is upright, and none of D2SA's is
        config = override(config, ["--model.input.height", "1088"])
    config = with_class_names(config, tuple(dataset_categories(config).values()))
    assert (len(config.model.class_names) == 1) == (preset == "cocoa")
    batch = next(training_batches(config, batch_size=config.train.batch_size))
    check_input_canvas(((index, tuple(size)) for index, size in enumerate(batch.sizes.tolist())), config.model.input)
    assert batch.images.shape == (BATCH_SIZE, config.data.canvas_height, config.data.canvas_width, 3)
    assert batch.truth.valid.any(axis=1).all()
