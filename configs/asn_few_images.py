"""A small ASN that learns a handful of images by heart: the check that no stage loses or misplaces anything.

Trained and evaluated on the same images (see docs/real_images.md); the classes are the dataset's.
"""

import dataclasses

from amodal_jax.config import AnchorConfig, Config, DataConfig, EvaluationConfig, InputConfig, RoIConfig, TrainConfig
from configs import asn_tiny


def get_config() -> Config:
    tiny = asn_tiny.get_config()
    return Config(
        name="asn_few_images",
        model=dataclasses.replace(
            tiny.model,
            class_names=(),
            input=InputConfig(short_side=288, long_side=384, height=384, width=384),
            anchors=AnchorConfig(sizes=(16.0, 32.0, 64.0, 128.0, 256.0)),
            roi=RoIConfig(batch_size=96),
        ),
        data=DataConfig(
            directory="~/tensorflow_datasets/kins",
            canvas_height=640,
            canvas_width=640,
            max_instances=40,
            flip=False,
        ),
        train=TrainConfig(
            steps=500,
            batch_size=5,
            optimizer="adamw",
            learning_rate=1e-3,
            gradient_clip=5.0,
            schedule="cosine",
            warmup_steps=50,
            log_every=20,
            checkpoint_every=250,
            evaluate_every=0,
        ),
        evaluation=EvaluationConfig(batch_size=5),
    )
