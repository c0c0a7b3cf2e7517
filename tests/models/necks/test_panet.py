"""PANet's neck, adaptive feature pooling and fusion against PyTorch re-creations, and its parameters."""

import jax.numpy as jnp
import pytest

from amodal_jax.config import HeadConfig, RoIConfig
from amodal_jax.models.heads.convolutions import ConvolutionBranch
from amodal_jax.models.heads.fusion import FullyConnectedFusion
from amodal_jax.models.heads.mask import MaskHead
from amodal_jax.models.necks import LEVEL_STRIDES
from amodal_jax.models.necks.panet import PANet
from amodal_jax.models.roi_pooling import RoIPooling
from tests.models.zoo_golden import Golden

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
