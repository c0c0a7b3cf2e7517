"""The paper's network (Table 4, Mask R-CNN + ASN) with its schedule; every value is a default of `amodal_jax.config`."""

from amodal_jax.config import Config


def get_config() -> Config:
    return Config(name="asn_r50_fpn")
