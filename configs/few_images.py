"""Small forms of the zoo's networks that learn a handful of images by heart, as `configs/asn_few_images.py` does.

Each has the parts of its full configuration in which it differs from the paper's network; all else is that small ASN's,
with fewer channels, on a smaller canvas, in fewer steps.
"""

import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType

from amodal_jax.config import AnchorConfig, Config, HeadConfig, InputConfig, RoIConfig
from amodal_jax.models.mask_heads.aisformer import AISFormerConfig
from configs import aisformer_r50_fpn, asn_few_images, asn_panet_r50_fpn, bcnet_r50_fpn, orcnn_r50_fpn, panet_r50_fpn

NETWORKS: dict[str, ModuleType] = {
    "orcnn": orcnn_r50_fpn,
    "panet": panet_r50_fpn,
    "asn_panet": asn_panet_r50_fpn,
    "bcnet": bcnet_r50_fpn,
    "aisformer": aisformer_r50_fpn,
}

CHANNELS = 48
"""Of the pyramid."""

# What would cost a small network more than all else of it, or does not fit it.
CHANGES: dict[str, dict] = {
    "bcnet": {"heads": HeadConfig(fc_channels=256, channels=CHANNELS, norm="group_norm")},
    "aisformer": {
        "mask": AISFormerConfig(feedforward_channels=256, rematerialise=False),
        "roi": RoIConfig(batch_size=64, mask_size=8),  # 256 cells attend to each other, and not 784
    },
}


def _variant(name: str, full: ModuleType) -> Config:
    small, network = asn_few_images.get_config(), full.get_config().model
    parts = {
        "fpn_channels": CHANNELS,
        "backbone": dataclasses.replace(small.model.backbone, width=16),
        "input": InputConfig(short_side=192, long_side=256, height=256, width=256),
        "anchors": AnchorConfig(sizes=(12.0, 24.0, 48.0, 96.0, 192.0)),
        "neck": network.neck,
        "roi": dataclasses.replace(small.model.roi, pooling=network.roi.pooling, batch_size=64),
        "occlusion": network.occlusion,
        "mlc": network.mlc,
        "mask": network.mask,
    }
    model = dataclasses.replace(small.model, **parts | CHANGES.get(name, {}))
    train = dataclasses.replace(small.train, steps=300, learning_rate=2e-3, checkpoint_every=100)
    return dataclasses.replace(small, name=f"few_images/{name}", model=model, train=train)


VARIANTS: dict[str, Callable[[], Config]] = {
    name: functools.partial(_variant, name, full) for name, full in NETWORKS.items()
}
