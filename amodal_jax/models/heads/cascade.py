"""The heads of a multi-task network cascade (Dai et al., 2016): masks of regions, and classes through those masks.

Source: daijifeng001/MNC, `models/VGG16/mnc_5stage/train.prototxt`. Ours: fewer hidden channels, as the input has
fewer; an inmodal mask beside the amodal one, which gates.

Shape shorthand in this module: B images, h x w cells of their features, N regions, C channels, S cells a side of a
region's features, F hidden channels, M mask cells a side, K1 classes with the background at 0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.layers import Conv, Dense, normal_0001, normal_001
from amodal_jax.structures import Array as Leaf

MASK_SIZE = 21
"""M."""


@struct.dataclass
class RegionClasses:
    """What stage 3, or 5, says of regions."""

    scores: Leaf
    """float32 [N, K1], logits of the class by the box."""
    mask_scores: Leaf
    """float32 [N, K1], logits of the class by the mask, which detections have."""
    deltas: Leaf
    """float32 [N, K1, 4]."""


class Reduction(nn.Module):
    """A 1x1 convolution with ReLU, before regions are cut out: it makes the dense layers as small as they are."""

    channels: int
    """Of the output."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, c5: Float[Array, "B h w _"]) -> Float[Array, "B h w C"]:
        return nn.relu(Conv(self.channels, 1, dtype=self.dtype, name="conv")(c5))


class RegionMask(nn.Module):
    """Stage 2, or 4: the mask of a region, of no class, by two dense layers."""

    hidden: int
    """Channels of the first layer."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(self, features: Float[Array, "N S S C"]) -> Float[Array, "N 21 21"]:
        """The logits of each region's mask."""
        hidden = Dense(self.hidden, dtype=self.dtype, kernel_init=normal_0001, name="fc1")(_flat(features))
        logits = Dense(MASK_SIZE**2, kernel_init=normal_0001, name="fc2")(nn.relu(hidden).astype(jnp.float32))
        return logits.reshape(-1, MASK_SIZE, MASK_SIZE)


class DenseStream(nn.Module):
    """The features of a region, at half their resolution, through two dense layers with ReLU."""

    hidden: int
    """Channels of each layer."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, features: Float[Array, "N S S C"]) -> Float[Array, "N F"]:
        blocks = [features[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        x = functools.reduce(jnp.maximum, blocks)
        x = nn.relu(Dense(self.hidden, dtype=self.dtype, name="fc6")(_flat(x)))
        return nn.relu(Dense(self.hidden, dtype=self.dtype, name="fc7")(x))


class RegionPredictor(nn.Module):
    """The classes of a region by its box and by its mask, and box deltas, from the hidden vectors of both streams."""

    classes: int
    """K1: foreground classes and the background."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "N F"]) -> RegionClasses:
        # In float32 whatever comes in: so small a product costs nothing, and bfloat16 would round scores to 8 bits.
        hidden = hidden.astype(jnp.float32)
        deltas = Dense(4 * self.classes, kernel_init=normal_0001, name="bbox_pred")(hidden)
        return RegionClasses(
            scores=Dense(self.classes, kernel_init=normal_001, name="cls_score")(hidden),
            mask_scores=Dense(self.classes, kernel_init=normal_001, name="seg_cls_score")(hidden),
            deltas=deltas.reshape(-1, self.classes, 4),
        )


def gate(features: Float[Array, "N S S C"], masks: Float[Array, "N M M"]) -> Float[Array, "N S S C"]:
    """Features times masks that are resized to them (`mask_resize_layer.cu`, `mask_pooling_layer.cu`).

    Resizing is bilinear: cell i of S has the value at i * M / S, with no shift by half a cell.

    Args:
      features: of regions.
      masks: their probabilities.
    """
    resize = _resizing(masks.shape[1], features.shape[1])
    resized = jnp.einsum("sy,nyx,tx->nst", resize, masks, resize, precision=jax.lax.Precision.HIGHEST)
    # In float32, in which the masks' gradients are then summed over the channels.
    return (features.astype(jnp.float32) * resized[..., None]).astype(features.dtype)


def _resizing(length: int, size: int) -> Float[np.ndarray, "S M"]:
    """The weights of `length` cells in each of `size`."""
    positions = np.minimum(np.arange(size) * (length / size), length - 1)
    return np.maximum(1 - np.abs(positions[:, None] - np.arange(length)), 0).astype(np.float32)


def _flat(features: Float[Array, "N S S C"]) -> Float[Array, "N SSC"]:
    return features.reshape(features.shape[0], -1)
