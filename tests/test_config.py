import dataclasses
import json

import pytest

from amodal_jax.config import Config, MLCConfig, ModelConfig
from amodal_jax.config_json import field_lines, from_json, override, to_json
from amodal_jax.errors import ConfigError
from configs import config_names, load_config


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_survives_json_and_knows_its_name(name):
    config = load_config(name)
    assert config.name == name
    assert from_json(to_json(config)) == config


def test_defaults_are_the_papers_schedule():
    train = Config().train
    assert (train.steps, train.batch_size, train.learning_rate, train.momentum) == (24_000, 8, 0.02, 0.9)
    assert train.decay_steps == (20_000, 22_000)


def test_a_checkpoint_of_before_masks_had_a_paste_keeps_its_room_and_is_pasted_at_pixel_centres():
    content = json.loads(to_json(Config()))
    content["evaluation"] = {"batch_size": 8, "score_threshold": 0.05, "nms_threshold": 0.5, "max_detections": 100}
    settings = from_json(json.dumps(content)).evaluation
    assert (settings.mask_paste, settings.max_detections, settings.max_detections_per_class) == (
        *("pixel_centres", 100, 100),
    )


def test_override_changes_one_field_and_keeps_its_type():
    config = override(
        Config(), ["--model.mlc.box-layer", "2", "--train.decay_steps=1,2", "--data.flip", "false", "--name", "mine"]
    )
    assert config.model.mlc == dataclasses.replace(MLCConfig(), box_layer=2)
    assert config.train.decay_steps == (1, 2)
    assert config.data.flip is False
    assert config.name == "mine"


def test_every_field_can_be_overridden_with_its_own_value():
    config = load_config("asn_tiny")
    arguments = [part for line in field_lines(config) for part in line.split(" ", 1)]
    assert override(config, arguments) == config


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model.mlc.box-laye", "2"], "did you mean box_layer"),
        (["--model.mlc", "2"], "model.mlc is a section"),
        (["--model.fpn_channels.x", "2"], "fpn_channels has no fields"),
        (["--train.steps", "many"], "train.steps must be an integer"),
        (["--train.steps", "1.5"], "train.steps"),
        (["--train.seed", str(2**31)], "train.seed must be under 2147483648"),
        (["--train.learning-rate", "nan"], "train.learning_rate must be finite"),
        (["--data.flip", "1"], "data.flip must be true or false"),
        (["--model.backbone.depth", "34"], "model.backbone.depth must be one of 18, 50, 101"),
        (["--model.mlc.box-layer", "4"], "model.mlc.box_layer must be within 0..3"),
        (["--train.steps"], "has no value"),
        (["steps", "3"], "is not an override"),
        (["--model.heads.box", "fc2"], "needs model.heads.box"),
        (["--model.occlusion.enabled", "false"], "needs model.occlusion.enabled"),
        (["--model.input.height", "100"], "multiple of 32"),
    ],
)
def test_bad_overrides_are_refused_by_name(arguments, named):
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        override(Config(), arguments)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        (json.dumps({"model": {"mlc": {"enabled": 1}}}), "model.mlc.enabled must be bool"),
        (json.dumps({"train": {"steps": True}}), "train.steps must be int"),
        (json.dumps({"train": {"decay_steps": 3}}), "train.decay_steps must be a list"),
        (json.dumps({"modle": {}}), "did you mean model"),
    ],
)
def test_bad_json_is_refused_by_name(text, named):
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        from_json(text)


def test_the_released_coding_has_no_switches():
    with pytest.raises(ConfigError, match="join_mask"):
        MLCConfig(form="released", join_mask="add")


def test_features_of_different_channels_are_not_added():
    """Before the first mask convolution, the mask feature has the pyramid's channels."""
    MLCConfig(mask_layer=0, join_mask="add")
    for changes in ({"mask_layer": 0}, {"join_mask": "add"}):
        ModelConfig(fpn_channels=128, mlc=MLCConfig(**changes))
    with pytest.raises(ConfigError, match="join_mask .* mask_layer = 0 .*heads.channels = 256 .*fpn_channels = 128"):
        ModelConfig(fpn_channels=128, mlc=MLCConfig(mask_layer=0, join_mask="add"))


def test_classes_must_differ():
    with pytest.raises(ConfigError, match="class_names"):
        ModelConfig(class_names=("car", "car"))
    for name in ("", " car"):
        with pytest.raises(ConfigError, match="class_names must have names"):
            ModelConfig(class_names=("van", name))


def test_unknown_configuration_lists_the_known_ones():
    with pytest.raises(ConfigError, match="asn_r50_fpn"):
        load_config("asn_r51_fpn")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--train.short-sides", "800,0"], "train.short_sides must be positive"),
        (
            ["--train.short-sides", "800,3200"],
            "train.short_sides must not be over model.input.long_side, which is 3000, as 3200 is",
        ),
    ],
)
def test_sizes_that_no_image_can_have_are_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        override(load_config("asn_r50_fpn"), arguments)
