"""PANet with two mask branches (the paper's Table 4) on ResNet-50; all else as in the paper's network."""

import dataclasses

from amodal_jax.config import Config
from amodal_jax.models.mask_heads.branches import BranchesConfig
from amodal_jax.models.necks.panet import PANetConfig
from configs import mask_rcnn_r50_fpn


def get_config() -> Config:
    config = mask_rcnn_r50_fpn.get_config()
    roi = dataclasses.replace(config.model.roi, pooling="adaptive")
    model = dataclasses.replace(config.model, neck=PANetConfig(), roi=roi, mask=BranchesConfig(fc_fusion=True))
    return dataclasses.replace(config, name="panet_r50_fpn", model=model)
