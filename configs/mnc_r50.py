"""MNC on ResNet-50 (Table 4), with this paper's input and schedule; what is MNC's own is as its code has it.

Its proposals, thresholds and vote are those of `fcis_r50`.
"""

import dataclasses

from amodal_jax.config import Config, RoIConfig
from amodal_jax.models.networks.mnc import MNCConfig
from configs import fcis_r50


def get_config() -> Config:
    config = fcis_r50.get_config()
    roi = RoIConfig(batch_size=64, positive_fraction=0.3)
    model = dataclasses.replace(config.model, network=MNCConfig(), roi=roi)
    return dataclasses.replace(config, name="mnc_r50", model=model)
