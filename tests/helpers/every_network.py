"""The smallest form of every network, for what each of them has to do: one joins by a line in `NETWORKS`."""

import dataclasses

from amodal_jax.config import Config, HeadConfig, MLCConfig, OcclusionConfig, RoIConfig
from amodal_jax.models.mask_heads.aisformer import AISFormerConfig
from amodal_jax.models.mask_heads.bcnet import BCNetConfig
from amodal_jax.models.mask_heads.branches import BranchesConfig
from amodal_jax.models.mask_heads.orcnn import ORCNNConfig
from amodal_jax.models.necks.panet import PANetConfig
from amodal_jax.models.networks.fcis import FCISConfig
from amodal_jax.models.networks.mnc import MNCConfig
from tests.helpers.micro import micro_config

PLAIN = {"occlusion": OcclusionConfig(enabled=False), "mlc": MLCConfig(enabled=False)}
PANET = {
    "neck": PANetConfig(),
    "roi": RoIConfig(batch_size=16, pooling="adaptive"),
    "mask": BranchesConfig(fc_fusion=True),
}
DETECTORS: dict[str, dict] = {
    "mask_rcnn": PLAIN,
    "asn": {},
    "panet": {**PLAIN, **PANET},
    "asn_panet": PANET,
    "orcnn": {**PLAIN, "mask": ORCNNConfig()},
    "bcnet": {**PLAIN, "mask": BCNetConfig()},
    "aisformer": {**PLAIN, "mask": AISFormerConfig(feedforward_channels=16)},
}
"""What each changes in the model of `tests.helpers.micro`, with branches as wide as the pyramid."""
NETWORKS: dict[str, dict] = {
    **DETECTORS,
    "fcis": {**PLAIN, "network": FCISConfig(rpn_channels=16, channels=16)},
    "mnc": {**PLAIN, "network": MNCConfig(rpn_channels=16, channels=8, hidden=16, mask_hidden=16)},
}
"""Likewise those that are no detectors of parts."""


def every_config(name: str, **model_changes) -> Config:
    """The configuration of the smallest form of a network; `model_changes` replace further fields of its model."""
    heads = HeadConfig(fc_channels=16, channels=16)
    config = micro_config(**{"heads": heads, **NETWORKS[name], **model_changes})
    return dataclasses.replace(config, name=name)
