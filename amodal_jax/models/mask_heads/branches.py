"""Independent amodal and inmodal mask branches, each with Multi-Level Coding where that is asked for (paper section 4).

Shape shorthand in this module: B images, P slots of positive regions, n detections, C channels, S cells a side of the
mask features, M = 2 S mask cells a side, K1 classes with the background at 0.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from amodal_jax import losses as loss
from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.convolutions import HeadConfig
from amodal_jax.models.heads.fusion import FullyConnectedFusion
from amodal_jax.models.heads.mask import MaskHead
from amodal_jax.models.heads.mlc import MLCConfig, build_mlc
from amodal_jax.models.mask_heads import MaskConfig
from amodal_jax.models.mask_targets import MaskKind, MaskTargets
from amodal_jax.models.roi_pooling import RegionFeatures

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class BranchesConfig(MaskConfig):
    """The paper's mask branches; `model.heads` and `model.mlc` hold their other settings."""

    fc_fusion: bool = False
    """PANet's fully-connected fusion in each mask branch."""
    fusion_relu: bool = False
    """Whether a ReLU follows the fusion's dense layer, as in PANet's own code; the official KINS code has none."""

    takes_guidance: ClassVar[bool] = True

    def __post_init__(self):
        require(self.fc_fusion or not self.fusion_relu, "model.mask.fusion_relu", "needs model.mask.fc_fusion")

    def check(self, model: "ModelConfig") -> None:
        """Refuses a fusion without a branch to be in, or without channels to halve.

        Raises:
          ConfigError: names the fields.
        """
        masks = model.heads.amodal_mask or model.heads.inmodal_mask
        require(masks or not self.fc_fusion, "model.mask.fc_fusion", "needs a mask branch to be in")
        require(
            model.heads.channels > 1 or not self.fc_fusion,
            "model.heads.channels",
            "must be at least 2 with model.mask.fc_fusion, which halves them",
        )

    def build(self, model: "ModelConfig") -> "MaskBranches":
        """The mask stage of a network."""
        return MaskBranches(self, model.heads, model.mlc, model.classes, model.dtype)


class MaskBranches(nn.Module):
    """A mask branch for each kind of mask; they share nothing."""

    config: BranchesConfig
    """Its settings."""
    heads: HeadConfig
    """The branches' settings."""
    mlc: MLCConfig
    """The coding's settings."""
    classes: int
    """K1, foreground classes and the background."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        self.amodal_mask_head = self._head() if self.heads.amodal_mask else None
        self.inmodal_mask_head = self._head() if self.heads.inmodal_mask else None

    def _head(self) -> MaskHead:
        heads = self.heads
        mlc = build_mlc(self.mlc, heads.channels, self.dtype) if self.mlc.enabled else None
        fusion = None
        if self.config.fc_fusion:
            fusion = FullyConnectedFusion(heads.channels, heads.norm, self.config.fusion_relu, dtype=self.dtype)
        return MaskHead(
            heads.channels,
            self.classes,
            mlc=mlc,
            mlc_layer=self.mlc.mask_layer,
            fusion=fusion,
            norm=heads.norm,
            dtype=self.dtype,
        )

    @property
    def mask_kinds(self) -> tuple[MaskKind, ...]:
        """The kinds of masks that it predicts."""
        kinds: dict[MaskKind, bool] = {"amodal": self.heads.amodal_mask, "inmodal": self.heads.inmodal_mask}
        return tuple(kind for kind, there in kinds.items() if there)

    @property
    def guidance_layer(self) -> int | None:
        """a of MLC(a, b); None without MLC."""
        return self.mlc.box_layer if self.mlc.enabled else None

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers. Where the weights of another network have one mask branch, it starts both."""
        other = {"amodal": "inmodal", "inmodal": "amodal"}
        found = []
        for kind in self.mask_kinds:
            name, stand_in = f"{kind}_mask_head", f"{other[kind]}_mask_head"
            layers = (("mask_fcn_logits", 1),)
            found.append(Branch(name, ("fpn",), class_layers=layers, late=("conv5_mask",), stand_in=stand_in))
            if self.mlc.enabled:
                inputs = ("fpn", "box_head", "occlusion_head")
                found.append(Branch(f"{name}/mlc", inputs, stand_in=f"{stand_in}/mlc", same_settings="model.mlc"))
            if self.config.fc_fusion:
                found.append(Branch(f"{name}/fusion", ("fpn",), late=("fc",), stand_in=f"{stand_in}/fusion"))
        return tuple(found)

    @property
    def summary(self) -> tuple[str, ...]:
        """What it has, in a few words each."""
        mlc = (f"MLC({self.mlc.box_layer}, {self.mlc.mask_layer})",) if self.mlc.enabled else ()
        fusion = ("fully-connected fusion",) if self.config.fc_fusion else ()
        return (*(f"{kind} mask" for kind in self.mask_kinds), *fusion, *mlc)

    def logits(
        self, features: RegionFeatures, labels: Int[Array, " n"], guidance: tuple[Any, ...]
    ) -> dict[MaskKind, Float[Array, "n M M"]]:
        """The logits of each kind's masks, of the class that each region is said to be of (0: background)."""
        heads = {"amodal": self.amodal_mask_head, "inmodal": self.inmodal_mask_head}
        return {kind: heads[kind](features, guidance, labels) for kind in self.mask_kinds}

    def losses(
        self,
        features: RegionFeatures,
        targets: MaskTargets,
        guidance: tuple[Any, ...],
        keys: Key[Array, " B"],
    ) -> dict[str, Mean]:
        """A term for each kind: the binary cross-entropy of the true class's mask."""
        return mask_terms(self.logits(features, targets.labels, guidance), targets)

    def masks(
        self, features: RegionFeatures, labels: Int[Array, " Bn"], guidance: tuple[Any, ...]
    ) -> dict[str, Float[Array, "Bn M M"]]:
        """The probabilities of each kind's masks; labels count from 0, the first foreground class."""
        return {kind: jax.nn.sigmoid(logits) for kind, logits in self.logits(features, labels + 1, guidance).items()}


def mask_terms(logits: dict[MaskKind, Float[Array, "BP M M"]], targets: MaskTargets) -> dict[str, Mean]:
    """The binary cross-entropy of each kind's masks."""
    return {
        f"{kind}_mask": loss.mask(of_kind, targets.masks(kind, of_kind.shape[-1]), targets.valid)
        for kind, of_kind in logits.items()
    }
