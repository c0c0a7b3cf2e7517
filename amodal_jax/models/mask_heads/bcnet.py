"""BCNet's masks: an occluder is found first, and the object behind it with what is known of that (Ke et al., 2021).

Source: lkeab/BCNet, `detectron2/modeling/roi_heads/mask_head.py`; the form for both masks of an object follows
trqminh/aistron, `projects/BCNet`. Ours: group normalisation in the non-local blocks, where the source has a batch
normalisation; the inmodal mask, one more output of the second layer; the occluder's terms are over the regions that
have one. Masks are of no class.

Shape shorthand in this module: B images, P slots of positive regions, n detections, N regions, C channels, S cells a
side of the mask features, M = 2 S mask cells a side.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from amodal_jax import losses as loss
from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.attention import attend
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.convolutions import CONVOLUTIONS, HeadConfig
from amodal_jax.models.layers import Conv, Deconv2x2, GroupNorm, Norm, OutputConv, blocks_to_pixels, make_norm, relu
from amodal_jax.models.mask_heads import MaskConfig
from amodal_jax.models.mask_targets import MaskKind, MaskTargets, OccluderRule
from amodal_jax.models.roi_pooling import RegionFeatures
from amodal_jax.ops.occluders import boundary

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig

BLOCK_LAYER = 2
"""The convolution of a layer after which its non-local block stands."""


@dataclasses.dataclass(frozen=True)
class BCNetConfig(MaskConfig):
    """BCNet's mask stage; `model.heads` holds its channels, its normalisation and whether there is an inmodal mask."""

    occluders: OccluderRule = "overlap"
    """What the first layer learns to find: all that "overlap" an object, as in the source, or those that hide it by the
    records' "orders"."""
    occluder_weight: float = 0.25
    """Weight of the occluder's mask in the loss."""
    boundary_weight: float = 1.0
    """Weight of each boundary in the loss; the source has 0.5 of a term that it adds to itself."""

    def __post_init__(self):
        for name in ("occluder_weight", "boundary_weight"):
            require(getattr(self, name) >= 0, f"model.mask.{name}", "must not be negative")

    def check(self, model: "ModelConfig") -> None:
        """Refuses what does not fit the two layers.

        Raises:
          ConfigError: names the fields.
        """
        needs = 'must be {} with model.mask.kind = "bcnet", {}'
        require(
            model.heads.amodal_mask,
            "model.heads.amodal_mask",
            needs.format("true", "whose second layer is the whole object's"),
        )
        require(
            model.roi.pooling == "by_size",
            "model.roi.pooling",
            needs.format('"by_size"', "whose second layer sees the region's one feature beside the first layer's"),
        )
        require(
            model.heads.channels == model.fpn_channels,
            "model.heads.channels",
            needs.format(
                f"model.fpn_channels = {model.fpn_channels}", "which adds the first layer's to the region's feature"
            ),
        )

    def build(self, model: "ModelConfig") -> "BCNetMasks":
        """The mask stage of a network."""
        return BCNetMasks(self, model.heads, model.dtype)


class NonLocalBlock(nn.Module):
    """What every cell sees of all cells, added to it (Wang et al., 2018)."""

    dtype: DTypeLike
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, x: Float[Array, "N S S C"]) -> Float[Array, "N S S C"]:
        channels = x.shape[-1]

        def convolve(inputs: Array, name: str) -> Array:
            return Conv(channels, 1, use_bias=False, dtype=self.dtype, name=name)(inputs)

        def project(name: str) -> Float[Array, "N SS 1 C"]:
            return convolve(x, name).reshape(x.shape[0], -1, 1, channels)

        attended = attend(project("query"), project("key"), project("value")).reshape(x.shape)
        return x + GroupNorm(epsilon=1e-4, dtype=self.dtype, name="norm")(convolve(attended, "output"))


class BilayerPart(nn.Module):
    """One of the two layers: four 3x3 convolutions with ReLU, and a non-local block amid them."""

    channels: int
    """Channels of each convolution."""
    norm: Norm
    """Normalisation after each convolution."""
    dtype: DTypeLike
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, x: Float[Array, "N S S C"]) -> Float[Array, "N S S C"]:
        for number in range(1, CONVOLUTIONS + 1):
            name = f"conv{number}"
            conv = Conv(self.channels, 3, use_bias=self.norm == "none", dtype=self.dtype, name=name)
            x = relu(make_norm(self.norm, self.dtype, f"{name}_norm")(conv(x)))
            if number == BLOCK_LAYER:
                x = NonLocalBlock(self.dtype, name="non_local")(x)
        return x


class MaskOutput(nn.Module):
    """A stride-2 deconvolution with ReLU and the logits of one map."""

    channels: int
    """Channels of the deconvolution."""
    dtype: DTypeLike
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "N S S C"]) -> Float[Array, "N M M"]:
        x = relu(Deconv2x2(self.channels, dtype=self.dtype, in_blocks=True, name="deconv")(x))
        x = x.reshape(*x.shape[:3], 2, 2, self.channels)
        logits = OutputConv(1, dtype=self.dtype, kernel_init=initializers.normal(0.001), name="logits")(x)
        return blocks_to_pixels(logits)[..., 0]


class BCNetMasks(nn.Module):
    """The layer of the occluder and, behind it, that of the object."""

    config: BCNetConfig
    """Its settings."""
    heads: HeadConfig
    """The branches' settings."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        part = (self.heads.channels, self.heads.norm, self.dtype)
        output = (self.heads.channels, self.dtype)
        self.occluder_layer = BilayerPart(*part)
        self.occluder_mask = MaskOutput(*output)
        self.occluder_boundary = MaskOutput(*output)
        self.object_layer = BilayerPart(*part)
        self.amodal_mask = MaskOutput(*output)
        self.amodal_boundary = MaskOutput(*output)
        self.inmodal_mask = MaskOutput(*output) if self.heads.inmodal_mask else None

    @property
    def mask_kinds(self) -> tuple[MaskKind, ...]:
        """The kinds of masks that it predicts."""
        return ("amodal", "inmodal") if self.heads.inmodal_mask else ("amodal",)

    @property
    def guidance_layer(self) -> int | None:
        """None: it takes no features of other branches."""
        return None

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        behind_block = tuple(
            f"conv{number}{norm}" for number in range(BLOCK_LAYER + 1, CONVOLUTIONS + 1) for norm in ("", "_norm")
        )
        near, far = ("fpn", "occluder_layer"), ("fpn", "occluder_layer", "object_layer")
        return (
            Branch("occluder_layer", ("fpn",), late=behind_block),
            Branch("occluder_mask", near),
            Branch("occluder_boundary", near),
            Branch("object_layer", near, late=behind_block),
            Branch("amodal_boundary", far),
            *(Branch(f"{kind}_mask", far) for kind in self.mask_kinds),
        )

    @property
    def summary(self) -> tuple[str, ...]:
        """What it has, in a few words each."""
        return (*(f"{kind} mask" for kind in self.mask_kinds), "BCNet's layers of occluder and object")

    def logits(self, features: RegionFeatures) -> dict[str, Float[Array, "N M M"]]:
        """The logits of its maps, by the name of their loss term."""
        (pooled,) = features
        near = self.occluder_layer(pooled)
        far = self.object_layer(pooled + near)
        found = {
            "occluder_mask": self.occluder_mask(near),
            "occluder_boundary": self.occluder_boundary(near),
            "amodal_mask": self.amodal_mask(far),
            "amodal_boundary": self.amodal_boundary(far),
        }
        return found | ({} if self.inmodal_mask is None else {"inmodal_mask": self.inmodal_mask(far)})

    def losses(
        self,
        features: RegionFeatures,
        targets: MaskTargets,
        guidance: tuple[Any, ...],
        keys: Key[Array, " B"],
    ) -> dict[str, Mean]:
        """A binary cross-entropy for each map; those of the occluder are over the regions that see one."""
        logits = self.logits(features)
        size = logits["amodal_mask"].shape[-1]
        truth = {f"{kind}_mask": targets.masks(kind, size) for kind in self.mask_kinds}
        truth["occluder_mask"] = targets.occluder(size, self.config.occluders)
        truth |= {f"{name}_boundary": boundary(truth[f"{name}_mask"]) for name in ("amodal", "occluder")}
        hidden = targets.valid & truth["occluder_mask"].any(axis=(1, 2))
        weights = {
            "occluder_mask": self.config.occluder_weight,
            "occluder_boundary": self.config.boundary_weight,
            "amodal_boundary": self.config.boundary_weight,
        }
        terms = {
            name: loss.mask(of_map, truth[name], hidden if name.startswith("occluder") else targets.valid)
            for name, of_map in logits.items()
        }
        return {name: loss.scaled(term, weights.get(name, 1.0)) for name, term in terms.items()}

    def masks(
        self, features: RegionFeatures, labels: Int[Array, " Bn"], guidance: tuple[Any, ...]
    ) -> dict[str, Float[Array, "Bn M M"]]:
        """The probabilities of the masks of each kind, whatever the class."""
        logits = self.logits(features)
        return {kind: jax.nn.sigmoid(logits[f"{kind}_mask"]) for kind in self.mask_kinds}
