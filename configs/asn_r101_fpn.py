"""The paper's network on a ResNet-101."""

import dataclasses

from amodal_jax.config import BackboneConfig, Config
from configs import asn_r50_fpn


def get_config() -> Config:
    config = asn_r50_fpn.get_config()
    model = dataclasses.replace(config.model, backbone=BackboneConfig(depth=101))
    return dataclasses.replace(config, name="asn_r101_fpn", model=model)
