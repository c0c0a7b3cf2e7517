"""The branches on RoI features: box, occlusion and masks (paper section 4, Figure 6).

Shape shorthand in this module: N regions, S RoI cells a side (7 for box and occlusion, 14 for masks), C channels,
K1 classes with the background at 0.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.layers import (
    Conv,
    Deconv2x2,
    Dense,
    Norm,
    OutputConv,
    make_norm,
    normal_0001,
    normal_001,
)

CONVOLUTIONS = 4  # of each branch


class Convolutions(nn.Module):
    """Four 3x3 convolutions with ReLU, conv1 to conv4."""

    channels: int
    """Channels of each."""
    norm: Norm = "none"
    """Normalisation after each."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, features: Float[Array, "N S S _"], layers: int = CONVOLUTIONS) -> list[Float[Array, "N S S _"]]:
        """The input and the features after each of the first `layers` convolutions: a list of layers + 1."""
        outputs = [features]
        for layer in range(1, layers + 1):
            conv = Conv(self.channels, 3, use_bias=self.norm == "none", dtype=self.dtype, name=f"conv{layer}")
            norm = make_norm(self.norm, self.dtype, f"conv{layer}_norm")
            outputs.append(nn.relu(norm(conv(outputs[-1]))))
        return outputs


class ConvolutionBranch(nn.Module):
    """Four 3x3 convolutions with ReLU and a hidden dense layer: the shape of the box and the occlusion branch."""

    channels: int
    """Channels of the convolutions."""
    fc_channels: int
    """Channels of the dense layer."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        self.convolutions = Convolutions(self.channels, norm=self.norm, dtype=self.dtype)
        self.fc = Dense(self.fc_channels, dtype=self.dtype)

    def convolve(self, features: Float[Array, "N S S _"], layers: int) -> list[Float[Array, "N S S _"]]:
        """The input and the features after each of the first `layers` convolutions: a list of layers + 1."""
        return self.convolutions(features, layers)

    def __call__(self, features: Float[Array, "N S S _"]) -> tuple[Float[Array, "N F"], list[Float[Array, "N S S _"]]]:
        """RoI features to (hidden vector, the input and the features after each convolution)."""
        layers = self.convolutions(features)
        hidden = nn.relu(self.fc(layers[-1].reshape(features.shape[0], -1)))
        return hidden, layers


class TwoDenseBranch(nn.Module):
    """The classic box head of two dense layers, which torchvision's weights need."""

    fc_channels: int
    """Channels of both layers."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        self.fc6 = Dense(self.fc_channels, dtype=self.dtype)
        self.fc7 = Dense(self.fc_channels, dtype=self.dtype)

    def __call__(self, features: Float[Array, "N S S _"]) -> tuple[Float[Array, "N F"], list[Float[Array, "N S S _"]]]:
        """RoI features to (hidden vector, the list of the RoI features alone: there are no convolutions)."""
        hidden = nn.relu(self.fc6(features.reshape(features.shape[0], -1)))
        return nn.relu(self.fc7(hidden)), [features]


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


class OcclusionPredictor(nn.Module):
    """Two logits, not occluded and occluded, from the occlusion branch's hidden vector (paper section 4.1)."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "N F"]) -> Float[Array, "N 2"]:
        return Dense(2, kernel_init=normal_001, name="occ_score")(hidden.astype(jnp.float32))


class MaskHead(nn.Module):
    """Four 3x3 convolutions, a stride-2 deconvolution and class-specific logits; MLC's features join on the way."""

    channels: int
    """Channels of the convolutions."""
    classes: int
    """K1: foreground classes and the background, whose mask nothing trains (as in torchvision)."""
    mlc: nn.Module | None = None
    """The coding of this branch; amodal and inmodal branch have one each."""
    mlc_layer: int = 1
    """b of MLC(a, b): the convolution after which features are joined; 0 is before the first."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(
        self, features: Float[Array, "N S S _"], guidance: Sequence[Float[Array, "N s s _"]] = ()
    ) -> Float[Array, "N 2*S 2*S K1"]:
        """Mask logits.

        Args:
          features: RoI features of the mask branch.
          guidance: box and occlusion features of the same regions, for the MLC; empty without one.
        """
        x = features
        for layer in range(CONVOLUTIONS + 1):
            if layer > 0:
                use_bias = self.norm == "none"
                conv = Conv(self.channels, 3, use_bias=use_bias, dtype=self.dtype, name=f"mask_fcn{layer}")
                x = nn.relu(make_norm(self.norm, self.dtype, f"mask_fcn{layer}_norm")(conv(x)))
            if self.mlc is not None and layer == self.mlc_layer:
                box_features, occlusion_features = guidance
                x = self.mlc(box_features, occlusion_features, x)
        x = nn.relu(Deconv2x2(self.channels, dtype=self.dtype, name="conv5_mask")(x))
        init = initializers.normal(0.001)
        return OutputConv(self.classes, dtype=self.dtype, kernel_init=init, name="mask_fcn_logits")(x)
