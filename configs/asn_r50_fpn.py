"""The paper's network (Table 4, Mask R-CNN + ASN) and schedule: the defaults of `amodal_jax.config`."""

from amodal_jax.config import Config


def get_config() -> Config:
    return Config(name="asn_r50_fpn")
