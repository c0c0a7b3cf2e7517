"""ORCNN (the paper's Table 4) on ResNet-50; all else as in the paper's network."""

from amodal_jax.config import Config, MLCConfig, ModelConfig, OcclusionConfig
from amodal_jax.models.mask_heads.orcnn import ORCNNConfig


def get_config() -> Config:
    return Config(
        name="orcnn_r50_fpn",
        model=ModelConfig(occlusion=OcclusionConfig(enabled=False), mlc=MLCConfig(enabled=False), mask=ORCNNConfig()),
    )
