"""The paper's network on a ResNet-101."""

from amodal_jax.config import Config
from configs import asn_r50_fpn, on_resnet101


def get_config() -> Config:
    return on_resnet101(asn_r50_fpn.get_config(), "asn_r101_fpn")
