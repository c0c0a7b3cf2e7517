"""ORCNN on a ResNet-101."""

from amodal_jax.config import Config
from configs import on_resnet101, orcnn_r50_fpn


def get_config() -> Config:
    return on_resnet101(orcnn_r50_fpn.get_config(), "orcnn_r101_fpn")
