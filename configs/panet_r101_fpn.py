"""PANet with two mask branches on a ResNet-101."""

from amodal_jax.config import Config
from configs import on_resnet101, panet_r50_fpn


def get_config() -> Config:
    return on_resnet101(panet_r50_fpn.get_config(), "panet_r101_fpn")
