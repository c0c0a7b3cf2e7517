import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amodal_jax.config import Config, MLCConfig, ModelConfig
from amodal_jax.config_json import field_lines, from_json, override, to_json, to_values
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


UNFIT = [
    ("asn_panet_r50_fpn", "--model.mlc.mask-layer 0", 'mask_layer must not be 0 with model.roi.pooling = "adaptive"'),
    ("asn_panet_r50_fpn", "--model.mlc.box-layer 0", 'mask_layer must not be 0 with model.roi.pooling = "adaptive"'),
    ("ablations/mlc_released", "--model.roi.pooling adaptive", "model.mlc.box_layer and mask_layer must not be 0"),
    ("asn_panet_r50_fpn", "--model.roi.mask-size 16", "model.roi.mask_size must be twice box_size"),
    ("panet_r50_fpn", "--model.mlc.enabled true", "model.mlc.enabled needs model.occlusion.enabled"),
    ("panet_r50_fpn", "--model.heads.channels 1", "model.heads.channels must be at least 2 with model.mask.fc_fusion"),
    ("panet_r50_fpn", "--model.mask.kind bcnet", 'model.roi.pooling must be "by_size" with model.mask.kind = "bcnet"'),
    ("asn_r50_fpn", "--model.mask.kind bcnet", 'model.mlc.enabled must be false with model.mask.kind = "bcnet"'),
    ("asn_r50_fpn", "--model.mask.kind aisformer", 'model.mlc.enabled must be false with model.mask.kind = "ais'),
    ("ablations/amodal_only", "--model.mask.kind orcnn", "model.heads.inmodal_mask must be true with model.mask.kind"),
    ("ablations/inmodal_only", "--model.mask.kind bcnet", "model.heads.amodal_mask must be true with model.mask.kind"),
    ("ablations/amodal_only", "--model.mask.kind aisformer", "model.heads.inmodal_mask must be true with model.mask"),
    ("bcnet_r50_fpn", "--model.fpn-channels 128", "model.heads.channels must be model.fpn_channels = 128"),
    ("aisformer_r50_fpn", "--model.heads.channels 255", "model.heads.channels must be even with model.mask.kind"),
    ("aisformer_r50_fpn", "--model.mask.attention-heads 3", "model.mask.attention_heads must divide model.heads"),
    ("aisformer_r50_fpn", "--model.roi.mask-size 26", "model.roi.mask_size must be at most 25 with model.mask.kind"),
    ("orcnn_r50_fpn", "--model.mask.fusion-relu true", "model.mask.fusion_relu needs model.mask.fc_fusion"),
    ("mask_rcnn_r50_fpn", "--model.anchors.sizes 32,64", "model.anchors.sizes must have five values"),
]


@pytest.mark.parametrize(("name", "options", "named"), UNFIT)
def test_parts_that_do_not_fit_together_are_refused_by_their_fields(name, options, named):
    config = load_config(name)
    with pytest.raises(ConfigError, match=re.escape(named)):
        override(config, options.split())
    # In a file as on a command line: a checkpoint's configuration is read so.
    values = to_values(config)
    path, text = options.removeprefix("--").replace("-", "_").split()
    *sections, field = path.split(".")
    section = values
    for one in sections:
        section = section[one]
    if field == "kind":
        section.clear()
    kinds = {bool: lambda: text == "true", int: lambda: int(text), tuple: lambda: [float(x) for x in text.split(",")]}
    section[field] = kinds.get(type(section.get(field)), lambda: text)()
    with pytest.raises(ConfigError, match=re.escape(named)):
        from_json(json.dumps(values))


def test_a_command_line_refuses_them_in_a_line(tmp_path):
    name, options, named = UNFIT[0]
    script = Path(__file__).resolve().parents[1] / "scripts" / "train.py"
    command = [sys.executable, str(script), name, "--workdir", str(tmp_path / "run"), *options.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: model.mlc.box_layer and ")
    assert named in line
    assert not (tmp_path / "run").exists()


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
