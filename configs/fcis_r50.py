"""FCIS on ResNet-50 (Table 4), with this paper's input and schedule; what is FCIS' own is as its code has it."""

from amodal_jax.config import (
    Config,
    EvaluationConfig,
    MLCConfig,
    ModelConfig,
    OcclusionConfig,
    RoIConfig,
    RPNConfig,
)
from amodal_jax.models.networks.fcis import FCISConfig


def get_config() -> Config:
    return Config(
        name="fcis_r50",
        model=ModelConfig(
            network=FCISConfig(),
            rpn=RPNConfig(pre_nms_train=6000, post_nms_train=300, pre_nms_test=6000, post_nms_test=300),
            roi=RoIConfig(batch_size=128, box_weights=(5.0, 5.0, 2.0, 2.0)),
            occlusion=OcclusionConfig(enabled=False),
            mlc=MLCConfig(enabled=False),
        ),
        evaluation=EvaluationConfig(score_threshold=1e-3, nms_threshold=0.3, max_detections=100, mask_threshold=0.4),
    )
