"""FCIS on a ResNet-101, the depth of its own code."""

from amodal_jax.config import Config
from configs import fcis_r50, on_resnet101


def get_config() -> Config:
    return on_resnet101(fcis_r50.get_config(), "fcis_r101")
