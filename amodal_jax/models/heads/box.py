"""The box branch's classic form, and its outputs.

Shape shorthand in this module: N regions, S RoI cells a side, F hidden channels, K1 classes with the background at 0.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.heads.convolutions import HeadConfig, first_layer
from amodal_jax.models.layers import Dense, normal_0001, normal_001, relu
from amodal_jax.models.roi_pooling import RegionFeatures


class TwoDenseBranch(nn.Module):
    """The classic box head of two dense layers, which torchvision's weights need."""

    config: HeadConfig
    """Its settings."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, features: RegionFeatures) -> tuple[Float[Array, "N F"], list[Float[Array, "N S S _"]]]:
        """RoI features to (hidden vector, the list of the RoI features alone: there are no convolutions)."""

        def layer(name: str) -> Callable[[Array], Array]:
            dense = Dense(self.config.fc_channels, dtype=self.dtype, name=name)
            return lambda x: relu(dense(x.reshape(x.shape[0], -1)))

        return layer("fc7")(first_layer(layer, "fc6", features)), [features[0]]


class BoxPredictor(nn.Module):
    """Class scores and class-specific box deltas from a box branch's hidden vector."""

    classes: int
    """K1: foreground classes and the background."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "N F"]) -> tuple[Float[Array, "N K1"], Float[Array, "N K1 4"]]:
        # In float32 whatever comes in: so small a product costs nothing, and bfloat16 would round scores to 8 bits.
        hidden = hidden.astype(jnp.float32)
        logits = Dense(self.classes, kernel_init=normal_001, name="cls_score")(hidden)
        deltas = Dense(4 * self.classes, kernel_init=normal_0001, name="bbox_pred")(hidden)
        return logits, deltas.reshape(-1, self.classes, 4)
