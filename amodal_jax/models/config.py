"""The section of a configuration that describes the network, made of its parts' own."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jax.typing import DTypeLike

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.errors import require
from amodal_jax.models.backbones.resnet import BackboneConfig
from amodal_jax.models.heads.convolutions import HeadConfig
from amodal_jax.models.heads.mlc import MLCConfig
from amodal_jax.models.heads.occlusion import OcclusionConfig
from amodal_jax.models.mask_heads import MaskConfig
from amodal_jax.models.mask_heads.branches import BranchesConfig
from amodal_jax.models.necks import NeckConfig
from amodal_jax.models.necks.fpn import FPNConfig
from amodal_jax.models.networks import NetworkConfig
from amodal_jax.models.networks.detector import DetectorConfig
from amodal_jax.models.preprocess import InputConfig
from amodal_jax.models.roi_pooling import RoIConfig
from amodal_jax.models.rpn import AnchorConfig, RPNConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network, from image to detections."""

    class_names: tuple[str, ...] = KINS_CLASS_NAMES
    """The foreground classes in the order of their labels; empty: the dataset's, filled in when training starts."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the arithmetic; parameters are float32 either way."""
    fpn_channels: int = 256
    """Channels of the neck's levels."""
    network: NetworkConfig = DetectorConfig()
    input: InputConfig = InputConfig()
    backbone: BackboneConfig = BackboneConfig()
    neck: NeckConfig = FPNConfig()
    anchors: AnchorConfig = AnchorConfig()
    rpn: RPNConfig = RPNConfig()
    roi: RoIConfig = RoIConfig()
    heads: HeadConfig = HeadConfig()
    occlusion: OcclusionConfig = OcclusionConfig()
    mlc: MLCConfig = MLCConfig()
    mask: MaskConfig = BranchesConfig()

    def __post_init__(self):
        require(self.fpn_channels > 0, "model.fpn_channels", "must be positive")
        require(len(set(self.class_names)) == len(self.class_names), "model.class_names", "must not repeat a name")
        named = all(name and name == name.strip() for name in self.class_names)
        require(named, "model.class_names", "must have names without spaces around them, and none that is empty")
        for section in (self.network, self.neck, self.mask, self.mlc):
            section.check(self)

    @property
    def classes(self) -> int:
        """Foreground classes and the background."""
        return len(self.class_names) + 1

    @property
    def dtype(self) -> DTypeLike:
        """`compute_dtype` as a type."""
        return jnp.bfloat16 if self.compute_dtype == "bfloat16" else jnp.float32
