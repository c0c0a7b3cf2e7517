"""A small ASN that trains from scratch on two CPU cores in minutes: what `scripts/demo.sh` trains."""

from amodal_jax.config import (
    AnchorConfig,
    BackboneConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    HeadConfig,
    InputConfig,
    ModelConfig,
    RoIConfig,
    RPNConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        name="asn_tiny",
        model=ModelConfig(
            fpn_channels=64,
            input=InputConfig(short_side=128, long_side=416, height=128, width=416),
            backbone=BackboneConfig(depth=18, width=32, norm="group_norm", frozen_stages=0),
            anchors=AnchorConfig(sizes=(12.0, 24.0, 48.0, 96.0, 192.0)),
            rpn=RPNConfig(
                batch_size=128,
                pre_nms_train=200,
                post_nms_train=200,
                pre_nms_test=200,
                post_nms_test=100,
            ),
            roi=RoIConfig(batch_size=64),
            heads=HeadConfig(fc_channels=256, channels=24, norm="group_norm"),
        ),
        data=DataConfig(canvas_height=188, canvas_width=621, max_instances=40),
        train=TrainConfig(
            steps=900,
            batch_size=4,
            optimizer="adamw",
            learning_rate=1.5e-3,
            gradient_clip=5.0,
            schedule="cosine",
            warmup_steps=100,
            log_every=20,
            checkpoint_every=150,
            evaluate_every=0,
        ),
        evaluation=EvaluationConfig(batch_size=4),
    )
