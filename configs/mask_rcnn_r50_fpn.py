"""Mask R-CNN with an amodal and an inmodal mask branch and nothing of ASN's: the baseline of Tables 4 to 6."""

import dataclasses

from amodal_jax.config import Config, MLCConfig, OcclusionConfig
from configs import asn_r50_fpn


def get_config() -> Config:
    config = asn_r50_fpn.get_config()
    model = dataclasses.replace(config.model, occlusion=OcclusionConfig(enabled=False), mlc=MLCConfig(enabled=False))
    return dataclasses.replace(config, name="mask_rcnn_r50_fpn", model=model)
