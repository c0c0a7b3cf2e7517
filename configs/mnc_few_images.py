"""A small MNC that learns a handful of images by heart, as `configs/asn_few_images.py` does."""

import dataclasses

from amodal_jax.config import AnchorConfig, Config, InputConfig, RPNConfig
from amodal_jax.models.networks.mnc import MNCConfig
from configs import asn_few_images, mnc_r50


def get_config() -> Config:
    small, full = asn_few_images.get_config(), mnc_r50.get_config()
    model = dataclasses.replace(
        small.model,
        input=InputConfig(short_side=216, long_side=288, height=288, width=288),
        anchors=AnchorConfig(sizes=(12.0, 24.0, 48.0, 96.0, 192.0)),
        network=MNCConfig(rpn_channels=128, channels=64, hidden=256, mask_hidden=128),
        rpn=RPNConfig(batch_size=128, pre_nms_train=600, post_nms_train=60, pre_nms_test=600, post_nms_test=100),
        roi=full.model.roi,
        occlusion=full.model.occlusion,
        mlc=full.model.mlc,
    )
    return dataclasses.replace(
        small,
        name="mnc_few_images",
        model=model,
        data=dataclasses.replace(small.data, max_instances=20),
        train=dataclasses.replace(small.train, steps=300, checkpoint_every=100),
        evaluation=dataclasses.replace(full.evaluation, batch_size=5),
    )
