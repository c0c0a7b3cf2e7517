"""PANet's neck, adaptive feature pooling and fusion against PyTorch re-creations, and its parameters."""

import jax.numpy as jnp
import pytest

from amodal_jax.config import HeadConfig, RoIConfig
from amodal_jax.config_json import override
from amodal_jax.errors import ConfigError
from amodal_jax.models.heads.convolutions import ConvolutionBranch
from amodal_jax.models.heads.fusion import FullyConnectedFusion
from amodal_jax.models.heads.mask import MaskHead
from amodal_jax.models.necks import LEVEL_STRIDES
from amodal_jax.models.necks.panet import PANet
from amodal_jax.models.roi_pooling import RoIPooling
from amodal_jax.summary import summarise
from configs import load_config
from tests.helpers.zoo_golden import Golden

CHANNELS = 8


def test_its_levels_and_gradients_are_those_of_the_pytorch_neck():
    neck = PANet(CHANNELS)
    Golden("panet", "neck").check(
        lambda key, inputs: neck.init(key, tuple(inputs)),
        lambda variables, inputs: neck.apply(variables, tuple(inputs)),
    )


def test_a_box_branch_on_all_levels_is_the_pytorch_one():
    """Adaptive feature pooling: each level pooled, its own first convolution, the maximum of them."""
    golden = Golden("panet", "box")
    pooling = RoIPooling(RoIConfig(pooling="adaptive"), LEVEL_STRIDES[:4])
    branch = ConvolutionBranch(HeadConfig(channels=CHANNELS, fc_channels=12))
    boxes = jnp.asarray(golden["boxes"])[None]

    def apply(variables, levels):
        hidden, _ = branch.apply(variables, pooling(levels, boxes, 3))
        return [hidden]

    golden.check(lambda key, levels: branch.init(key, pooling(levels, boxes, 3)), apply, channels={"fc": CHANNELS})


@pytest.mark.parametrize(("module", "relu"), [("mask", False), ("mask with relu", True)])
def test_a_mask_branch_with_fusion_is_the_pytorch_one(module, relu):
    head = MaskHead(CHANNELS, 3, fusion=FullyConnectedFusion(CHANNELS, relu=relu))
    Golden("panet", module).check(
        lambda key, inputs: head.init(key, tuple(inputs)),
        lambda variables, inputs: [head.apply(variables, tuple(inputs))],
        channels={"fusion.fc": CHANNELS // 2},
    )


def parameters(name):
    return {part.name: part.parameters for part in summarise(load_config(name))}


def test_parameters_are_those_counted_by_hand():
    """Of convolutions of 256 channels, 589 824 weights and 256 biases each, and of a fusion 784 outputs."""
    plain, panet = parameters("mask_rcnn_r50_fpn"), parameters("panet_r50_fpn")
    convolution = 589_824 + 256
    assert panet["  of it bottom_up"] == 6 * convolution == 3_540_480
    assert panet["box_head"] - plain["box_head"] == 3 * convolution == 1_770_240
    fusion = convolution + (589_824 // 2 + 128) + 128 * 14 * 14 * 784 + 784
    assert fusion == 20_554_896
    for kind in ("amodal", "inmodal"):
        branch = f"{kind}_mask_head"
        assert panet[branch] - plain[branch] == 3 * convolution + fusion
    assert panet["all"] == 97_851_175


@pytest.mark.parametrize(("form", "expected"), [("paper", 131_349_033), ("released", 122_434_601)])
def test_parameters_with_asn_on_top_are_those_counted_by_hand(form, expected):
    config = override(load_config("asn_panet_r50_fpn"), ["--model.mlc.form", form])
    assert {part.name: part.parameters for part in summarise(config)}["all"] == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model.mlc.box-layer", "0"], "model.mlc.box_layer and mask_layer must not be 0 with model.roi.pooling"),
        (["--model.mlc.mask-layer", "0"], "model.mlc.box_layer and mask_layer must not be 0 with model.roi.pooling"),
        (
            ["--model.mask.fc-fusion", "false", "--model.mask.fusion-relu", "true"],
            "fusion_relu needs model.mask.fc_fus",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        override(load_config("asn_panet_r50_fpn"), arguments)


@pytest.mark.parametrize("kind", ["branches", "orcnn"])
def test_a_fusion_needs_a_mask_branch(kind):
    none = ["--model.heads.amodal-mask", "false", "--model.heads.inmodal-mask", "false"]
    fusion = ["--model.mask.kind", kind, "--model.mask.fc-fusion", "true"]
    with pytest.raises(ConfigError, match="model.mask.fc_fusion needs a mask branch to be in"):
        override(load_config("panet_r50_fpn"), [*fusion, *none])
