"""The convolutions that the branches on RoI features have in common (paper section 4, Figure 6).

Shape shorthand in this module: N regions, S RoI cells a side (7 for box and occlusion, 14 for masks), F hidden
channels.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.errors import require
from amodal_jax.models.layers import Conv, Dense, Norm, make_norm, relu
from amodal_jax.models.roi_pooling import RegionFeatures

CONVOLUTIONS = 4
"""3x3 convolutions of each branch."""


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """The branches on RoI features (paper section 4)."""

    box: Literal["conv4_fc1", "fc2"] = "conv4_fc1"
    """The box branch: four convolutions and a dense layer, as the paper's, or two dense layers, as torchvision's."""
    fc_channels: int = 1024
    """Channels of the box and occlusion branches' dense layers."""
    channels: int = 256
    """Channels of the branches' convolutions."""
    norm: Literal["none", "group_norm", "frozen_batch_norm"] = "none"
    """Normalisation after each convolution of the branches and of the neck."""
    amodal_mask: bool = True
    """Whether there are masks of whole objects."""
    inmodal_mask: bool = True
    """Whether there are masks of what is seen of them."""

    def __post_init__(self):
        require(min(self.fc_channels, self.channels) > 0, "model.heads", "channels must be positive")


_LEVEL = re.compile(r"_level\d+")


def without_level(path: str) -> str:
    """The path of the layer that sees one map, from that of one that sees a certain level (see `first_layer`)."""
    return _LEVEL.sub("", path)


def first_layer(layer: Callable[[str], Callable[[Array], Array]], name: str, features: RegionFeatures) -> Array:
    """The output of a branch's first layer.

    Of one map it is that of the layer `name`. Where there is a map of each level, each has a layer of its own,
    `name_level2` and so on, and their element-wise maximum is what follows (PANet's adaptive feature pooling).

    Args:
      layer: from a name to the layer of that name, with its ReLU.
      name: of the layer that sees one map.
      features: of the regions.
    """
    if len(features) == 1:
        return layer(name)(features[0])
    outputs = [layer(f"{name}_level{level}")(of_level) for level, of_level in enumerate(features, start=2)]
    return functools.reduce(jnp.maximum, outputs)


class Convolutions(nn.Module):
    """Four 3x3 convolutions with ReLU, conv1 to conv4."""

    channels: int
    """Channels of each."""
    norm: Norm = "none"
    """Normalisation after each."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, features: RegionFeatures, layers: int = CONVOLUTIONS) -> list[Float[Array, "N S S _"]]:
        """The input and the features after each of the first `layers` convolutions: a list of layers + 1.

        The input of several levels is the finest one's.
        """

        def layer(name: str) -> Callable[[Array], Array]:
            conv = Conv(self.channels, 3, use_bias=self.norm == "none", dtype=self.dtype, name=name)
            norm = make_norm(self.norm, self.dtype, f"{name}_norm")
            return lambda x: relu(norm(conv(x)))

        outputs = [features[0]]
        for number in range(1, layers + 1):
            name = f"conv{number}"
            outputs.append(first_layer(layer, name, features) if number == 1 else layer(name)(outputs[-1]))
        return outputs


class ConvolutionBranch(nn.Module):
    """Four 3x3 convolutions with ReLU and a hidden dense layer: the shape of the box and the occlusion branch."""

    config: HeadConfig
    """Its settings."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        self.convolutions = Convolutions(self.config.channels, norm=self.config.norm, dtype=self.dtype)
        self.fc = Dense(self.config.fc_channels, dtype=self.dtype)

    def convolve(self, features: RegionFeatures, layers: int) -> list[Float[Array, "N S S _"]]:
        """The input and the features after each of the first `layers` convolutions: a list of layers + 1."""
        return self.convolutions(features, layers)

    def __call__(self, features: RegionFeatures) -> tuple[Float[Array, "N F"], list[Float[Array, "N S S _"]]]:
        """RoI features to (hidden vector, the input and the features after each convolution)."""
        layers = self.convolutions(features)
        hidden = relu(self.fc(layers[-1].reshape(layers[-1].shape[0], -1)))
        return hidden, layers
