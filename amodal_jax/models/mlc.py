"""Multi-Level Coding: box and occlusion features guide a mask branch (paper section 4.2, Figure 6, Table 7).

Shape shorthand in this module: N regions, s cells a side of the box and occlusion features (7), S = 2s cells of the
mask feature (14), C channels.
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.layers import Conv, Deconv2x2, Deconv3x3


class MultiLevelCoding(nn.Module):
    """The four parts of Table 7: join box and occlusion features, extract, join with the mask feature, combine.

    The defaults are the paper's. A ReLU follows every convolution. Convolutions keep the channels that they are given,
    but for the special ones, which give C.
    """

    channels: int
    """C, of the mask feature and of the output."""
    join_features: Literal["concatenate", "add"] = "concatenate"
    """Part 1, how box and occlusion features are joined."""
    extraction_order: Literal["special_first", "special_last"] = "special_first"
    """Part 2, where the stride-2 deconvolution stands among the plain convolutions."""
    extraction_convolutions: int = 2
    """Part 2, plain 3x3 convolutions."""
    join_mask: Literal["concatenate", "add"] = "concatenate"
    """Part 3, how extracted and mask features are joined; after an addition there are no channels to halve."""
    combination_order: Literal["special_first", "special_last"] = "special_last"
    """Part 4, where the channel-halving convolution stands among the plain ones."""
    combination_convolutions: int = 2
    """Part 4, plain 3x3 convolutions."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(
        self,
        box_features: Float[Array, "N s s _"],
        occlusion_features: Float[Array, "N s s _"],
        mask_features: Float[Array, "N S S _"],
    ) -> Float[Array, "N S S C"]:
        x = _join(self.join_features, box_features, occlusion_features)
        deconv = Deconv3x3(self.channels, dtype=self.dtype, name="extract_deconv")
        if self.extraction_order == "special_first":
            x = nn.relu(deconv(x))
        x = self._plain(x, self.extraction_convolutions, "extract")
        if self.extraction_order == "special_last":
            x = nn.relu(deconv(x))

        x = _join(self.join_mask, x, mask_features)
        reduce = Conv(self.channels, 3, dtype=self.dtype, name="combine_reduce")
        if self.combination_order == "special_first":
            x = nn.relu(reduce(x))
        x = self._plain(x, self.combination_convolutions, "combine")
        if self.combination_order == "special_last":
            x = nn.relu(reduce(x))
        return x

    def _plain(self, x: Array, count: int, name: str) -> Array:
        for index in range(1, count + 1):
            x = nn.relu(Conv(x.shape[-1], 3, dtype=self.dtype, name=f"{name}_conv{index}")(x))
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
        x = nn.relu(Conv(self.channels, 3, dtype=self.dtype, name="extract_reduce")(x))
        x = nn.relu(Deconv2x2(self.channels, dtype=self.dtype, name="extract_deconv")(x))
        x = nn.relu(Conv(self.channels, 3, dtype=self.dtype, name="extract_conv1")(x))
        x = _join("concatenate", x, mask_features)
        x = nn.relu(Conv(self.channels, 3, dtype=self.dtype, name="combine_reduce")(x))
        return nn.relu(Conv(self.channels, 3, dtype=self.dtype, name="combine_conv1")(x))


def _join(how: Literal["concatenate", "add"], first: Array, second: Array) -> Array:
    return jnp.concatenate([first, second], axis=-1) if how == "concatenate" else first + second
