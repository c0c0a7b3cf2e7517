"""BCNet's mask layers on a ResNet-101."""

from amodal_jax.config import Config
from configs import bcnet_r50_fpn, on_resnet101


def get_config() -> Config:
    return on_resnet101(bcnet_r50_fpn.get_config(), "bcnet_r101_fpn")
