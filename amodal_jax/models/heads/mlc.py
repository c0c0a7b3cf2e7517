"""Multi-Level Coding: box and occlusion features guide a mask branch (paper section 4.2, Figure 6, Table 7).

Shape shorthand in this module: N regions, s cells a side of the box and occlusion features (7), S = 2s cells of the
mask feature (14), C channels.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.errors import require
from amodal_jax.models.layers import Conv, Deconv2x2, Deconv3x3, relu

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class MLCConfig:
    """Multi-Level Coding (paper section 4.2; the switches are the rows of Tables 5 and 7)."""

    enabled: bool = True
    """Whether there is one in each mask branch."""
    box_layer: int = 1
    """a of MLC(a, b): box and occlusion features are taken after their a-th convolution; 0 is before the first."""
    mask_layer: int = 1
    """b of MLC(a, b): they join the mask feature after its b-th convolution."""
    form: Literal["paper", "released"] = "paper"
    """Whose layers: "released" is the official code's form, which has none of the switches below."""
    join_features: Literal["concatenate", "add"] = "concatenate"
    """Part 1, how box and occlusion features are joined."""
    extraction_order: Literal["special_first", "special_last"] = "special_first"
    """Part 2, where the stride-2 deconvolution stands among the plain convolutions."""
    extraction_convolutions: Literal[1, 2, 3] = 2
    """Part 2, plain 3x3 convolutions."""
    join_mask: Literal["concatenate", "add"] = "concatenate"
    """Part 3, how extracted and mask features are joined; after an addition there are no channels to halve."""
    combination_order: Literal["special_first", "special_last"] = "special_last"
    """Part 4, where the channel-halving convolution stands among the plain ones."""
    combination_convolutions: Literal[1, 2, 3] = 2
    """Part 4, plain 3x3 convolutions."""

    _of_both_forms: ClassVar[tuple[str, ...]] = ("enabled", "box_layer", "mask_layer", "form")

    def __post_init__(self):
        require(0 <= self.box_layer <= 3, "model.mlc.box_layer", "must be within 0..3")
        require(0 <= self.mask_layer <= 3, "model.mlc.mask_layer", "must be within 0..3")
        if self.form == "released":
            for field in dataclasses.fields(self):
                require(
                    field.name in self._of_both_forms or getattr(self, field.name) == field.default,
                    f"model.mlc.{field.name}",
                    'can be changed only with model.mlc.form = "paper"',
                )

    def check(self, model: "ModelConfig") -> None:
        """Refuses what does not fit the branches that it takes features from and gives them to.

        Raises:
          ConfigError: names the fields.
        """
        if not self.enabled:
            return
        heads = model.heads
        require(
            model.mask.takes_guidance,
            "model.mlc.enabled",
            f'must be false with model.mask.kind = "{model.mask.kind}", whose masks no other branch guides',
        )
        require(model.occlusion.enabled, "model.mlc.enabled", "needs model.occlusion.enabled")
        require(
            heads.box == "conv4_fc1",
            "model.mlc.enabled",
            'needs model.heads.box = "conv4_fc1": the two-FC head has no convolutions to take features from',
        )
        require(heads.amodal_mask or heads.inmodal_mask, "model.mlc.enabled", "needs a mask branch to feed")
        # Before its first convolution the mask feature has the pyramid's channels.
        require(
            self.join_mask == "concatenate" or self.mask_layer > 0 or model.fpn_channels == heads.channels,
            "model.mlc.join_mask",
            f'= "add" with mask_layer = 0 adds features of model.heads.channels = {heads.channels} to ones of '
            f"model.fpn_channels = {model.fpn_channels}: make the two equal, or concatenate",
        )
        require(
            model.roi.pooling == "by_size" or min(self.box_layer, self.mask_layer) > 0,
            "model.mlc.box_layer and mask_layer",
            'must not be 0 with model.roi.pooling = "adaptive", where four maps come before the first convolution',
        )
        require(
            model.roi.mask_size == 2 * model.roi.box_size,
            "model.roi.mask_size",
            "must be twice box_size, as MLC doubles the box branch's cells",
        )


class MultiLevelCoding(nn.Module):
    """The four parts of Table 7: join box and occlusion features, extract, join with the mask feature, combine.

    The defaults are the paper's. A ReLU follows every convolution. Convolutions keep the channels that they are given,
    but for the special ones, which give C.
    """

    channels: int
    """C, of the mask feature and of the output."""
    config: MLCConfig = MLCConfig()
    """Its settings."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(
        self,
        box_features: Float[Array, "N s s _"],
        occlusion_features: Float[Array, "N s s _"],
        mask_features: Float[Array, "N S S _"],
    ) -> Float[Array, "N S S C"]:
        config = self.config
        x = _join(config.join_features, box_features, occlusion_features)
        deconv = Deconv3x3(self.channels, dtype=self.dtype, name="extract_deconv")
        if config.extraction_order == "special_first":
            x = relu(deconv(x))
        x = self._plain(x, config.extraction_convolutions, "extract")
        if config.extraction_order == "special_last":
            x = relu(deconv(x))

        x = _join(config.join_mask, x, mask_features)
        reduce = Conv(self.channels, 3, dtype=self.dtype, name="combine_reduce")
        if config.combination_order == "special_first":
            x = relu(reduce(x))
        x = self._plain(x, config.combination_convolutions, "combine")
        if config.combination_order == "special_last":
            x = relu(reduce(x))
        return x

    def _plain(self, x: Array, count: int, name: str) -> Array:
        for index in range(1, count + 1):
            x = relu(Conv(x.shape[-1], 3, dtype=self.dtype, name=f"{name}_conv{index}")(x))
        return x


class ReleasedMultiLevelCoding(nn.Module):
    """MLC as in the official code: a 2x2 deconvolution between two convolutions, then two more.

    Source: qqlu/Amodal-Instance-Segmentation-through-KINS-Dataset, "Reference Code".
    """

    channels: int
    """C, of the mask feature and of the output."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(
        self,
        box_features: Float[Array, "N s s _"],
        occlusion_features: Float[Array, "N s s _"],
        mask_features: Float[Array, "N S S _"],
    ) -> Float[Array, "N S S C"]:
        x = _join("concatenate", occlusion_features, box_features)
        x = relu(Conv(self.channels, 3, dtype=self.dtype, name="extract_reduce")(x))
        x = relu(Deconv2x2(self.channels, dtype=self.dtype, name="extract_deconv")(x))
        x = relu(Conv(self.channels, 3, dtype=self.dtype, name="extract_conv1")(x))
        x = _join("concatenate", x, mask_features)
        x = relu(Conv(self.channels, 3, dtype=self.dtype, name="combine_reduce")(x))
        return relu(Conv(self.channels, 3, dtype=self.dtype, name="combine_conv1")(x))


def build_mlc(config: MLCConfig, channels: int, dtype: DTypeLike) -> nn.Module:
    """The coding of one mask branch with so many channels."""
    if config.form == "released":
        return ReleasedMultiLevelCoding(channels, dtype=dtype)
    return MultiLevelCoding(channels, config, dtype=dtype)


def _join(how: Literal["concatenate", "add"], first: Array, second: Array) -> Array:
    return jnp.concatenate([first, second], axis=-1) if how == "concatenate" else first + second
