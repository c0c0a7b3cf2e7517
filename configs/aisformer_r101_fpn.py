"""AISFormer's masks on a ResNet-101."""

from amodal_jax.config import Config
from configs import aisformer_r50_fpn, on_resnet101


def get_config() -> Config:
    return on_resnet101(aisformer_r50_fpn.get_config(), "aisformer_r101_fpn")
