"""torchvision's `maskrcnn_resnet50_fpn`, part by part: its heads, counts, thresholds and paste, amodal masks only."""

from amodal_jax.config import (
    Config,
    EvaluationConfig,
    HeadConfig,
    InputConfig,
    MLCConfig,
    ModelConfig,
    OcclusionConfig,
    RPNConfig,
)


def get_config() -> Config:
    return Config(
        name="torchvision_mask_rcnn",
        model=ModelConfig(
            input=InputConfig(short_side=800, long_side=1333, height=800, width=1344),
            rpn=RPNConfig(pre_nms_train=2000, post_nms_train=2000, pre_nms_test=1000, post_nms_test=1000),
            heads=HeadConfig(box="fc2", inmodal_mask=False),
            occlusion=OcclusionConfig(enabled=False),
            mlc=MLCConfig(enabled=False),
        ),
        evaluation=EvaluationConfig(max_detections=100, mask_paste="torchvision"),
    )
