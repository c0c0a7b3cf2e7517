"""PANet + ASN (the paper's Table 4) on ResNet-50: PANet's neck, pooling and fusion, ASN's occlusion branch and MLC."""

import dataclasses

from amodal_jax.config import Config
from configs import asn_r50_fpn, panet_r50_fpn


def get_config() -> Config:
    panet, asn = panet_r50_fpn.get_config(), asn_r50_fpn.get_config()
    model = dataclasses.replace(panet.model, occlusion=asn.model.occlusion, mlc=asn.model.mlc)
    return dataclasses.replace(panet, name="asn_panet_r50_fpn", model=model)
