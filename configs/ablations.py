"""The rows of the paper's Tables 5, 6 and 7, each a named change of the default network."""

import dataclasses
import functools
from collections.abc import Callable

from amodal_jax.config import Config
from amodal_jax.config_json import override
from configs import asn_r50_fpn

NO_MLC = ("--model.mlc.enabled", "false")
NO_OCCLUSION = ("--model.occlusion.enabled", "false", *NO_MLC)

CHANGES: dict[str, tuple[str, ...]] = {
    # Table 5: mask branches alone and together, the occlusion branch, places of fusion.
    "inmodal_only": (*NO_OCCLUSION, "--model.heads.amodal-mask", "false"),
    "amodal_only": (*NO_OCCLUSION, "--model.heads.inmodal-mask", "false"),
    "mask_rcnn": NO_OCCLUSION,
    "occlusion": NO_MLC,
    **{
        f"mlc_{box}_{mask}": ("--model.mlc.box-layer", str(box), "--model.mlc.mask-layer", str(mask))
        for box, mask in ((0, 0), (1, 1), (2, 2), (3, 3), (0, 3), (3, 0))
    },
    # Table 6: thresholds of the occlusion branch, in per cent.
    **{
        f"occlusion_{percent}": (*NO_MLC, "--model.occlusion.threshold", str(percent / 100))
        for percent in (0, 5, 15, 20)
    },
    # Table 7: a 0 in the name marks the part that is changed.
    "mlc_0111_add": ("--model.mlc.join-features", "add"),
    "mlc_1011_order": ("--model.mlc.extraction-order", "special_last"),
    "mlc_1011_1_conv": ("--model.mlc.extraction-convolutions", "1"),
    "mlc_1011_3_conv": ("--model.mlc.extraction-convolutions", "3"),
    "mlc_1101_add": ("--model.mlc.join-mask", "add"),
    "mlc_1110_order": ("--model.mlc.combination-order", "special_first"),
    "mlc_1110_1_conv": ("--model.mlc.combination-convolutions", "1"),
    "mlc_1110_3_conv": ("--model.mlc.combination-convolutions", "3"),
    "mlc_1111": (),
    # Not in the paper: MLC as the official code has it, joined before the first mask convolution.
    "mlc_released": ("--model.mlc.form", "released", "--model.mlc.mask-layer", "0"),
}
"""What a command line says to make each of them of an ASN of any size."""


def _variant(name: str) -> Config:
    return dataclasses.replace(override(asn_r50_fpn.get_config(), list(CHANGES[name])), name=f"ablations/{name}")


VARIANTS: dict[str, Callable[[], Config]] = {name: functools.partial(_variant, name) for name in CHANGES}
