"""AISFormer's masks on ResNet-50; all else as in the paper's network without ASN's branches."""

import dataclasses

from amodal_jax.config import Config
from amodal_jax.models.mask_heads.aisformer import AISFormerConfig
from configs import mask_rcnn_r50_fpn


def get_config() -> Config:
    config = mask_rcnn_r50_fpn.get_config()
    return dataclasses.replace(
        config, name="aisformer_r50_fpn", model=dataclasses.replace(config.model, mask=AISFormerConfig())
    )
