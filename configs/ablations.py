"""The rows of the paper's Tables 5, 6 and 7, each a named change of the default network."""

import dataclasses
import functools
from collections.abc import Callable

from amodal_jax.config import Config, HeadConfig, MLCConfig, ModelConfig, OcclusionConfig
from configs import asn_r50_fpn

NO_OCCLUSION = {"occlusion": OcclusionConfig(enabled=False), "mlc": MLCConfig(enabled=False)}
NO_MLC = {"mlc": MLCConfig(enabled=False)}

MODEL_CHANGES: dict[str, dict] = {
    # Table 5: mask branches alone and together, the occlusion branch, places of fusion.
    "inmodal_only": {**NO_OCCLUSION, "heads": HeadConfig(amodal_mask=False)},
    "amodal_only": {**NO_OCCLUSION, "heads": HeadConfig(inmodal_mask=False)},
    "mask_rcnn": NO_OCCLUSION,
    "occlusion": NO_MLC,
    **{
        f"mlc_{box}_{mask}": {"mlc": MLCConfig(box_layer=box, mask_layer=mask)}
        for box, mask in ((0, 0), (1, 1), (2, 2), (3, 3), (0, 3), (3, 0))
    },
    # Table 6: thresholds of the occlusion branch, in per cent.
    **{
        f"occlusion_{percent}": {**NO_MLC, "occlusion": OcclusionConfig(threshold=percent / 100)}
        for percent in (0, 5, 15, 20)
    },
    # Table 7: a 0 in the name marks the part that is changed.
    "mlc_0111_add": {"mlc": MLCConfig(join_features="add")},
    "mlc_1011_order": {"mlc": MLCConfig(extraction_order="special_last")},
    "mlc_1011_1_conv": {"mlc": MLCConfig(extraction_convolutions=1)},
    "mlc_1011_3_conv": {"mlc": MLCConfig(extraction_convolutions=3)},
    "mlc_1101_add": {"mlc": MLCConfig(join_mask="add")},
    "mlc_1110_order": {"mlc": MLCConfig(combination_order="special_first")},
    "mlc_1110_1_conv": {"mlc": MLCConfig(combination_convolutions=1)},
    "mlc_1110_3_conv": {"mlc": MLCConfig(combination_convolutions=3)},
    "mlc_1111": {},
    # Not in the paper: MLC as the official code has it, joined before the first mask convolution.
    "mlc_released": {"mlc": MLCConfig(form="released", mask_layer=0)},
}


def _variant(name: str) -> Config:
    model: ModelConfig = dataclasses.replace(asn_r50_fpn.get_config().model, **MODEL_CHANGES[name])
    return dataclasses.replace(asn_r50_fpn.get_config(), name=f"ablations/{name}", model=model)


VARIANTS: dict[str, Callable[[], Config]] = {name: functools.partial(_variant, name) for name in MODEL_CHANGES}
