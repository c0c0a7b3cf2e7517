"""MNC on a ResNet-101."""

from amodal_jax.config import Config
from configs import mnc_r50, on_resnet101


def get_config() -> Config:
    return on_resnet101(mnc_r50.get_config(), "mnc_r101")
