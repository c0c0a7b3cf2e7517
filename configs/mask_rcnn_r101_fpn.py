"""Mask R-CNN with two mask branches on a ResNet-101."""

from amodal_jax.config import Config
from configs import mask_rcnn_r50_fpn, on_resnet101


def get_config() -> Config:
    return on_resnet101(mask_rcnn_r50_fpn.get_config(), "mask_rcnn_r101_fpn")
