"""Residual networks (He et al., 2016) as a detector's backbone, with torchvision's structure and names.

Shape shorthand in this module: B images, H x W input size, h x w output size, C channels, O output channels.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.layers import Conv, Norm, make_norm

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    width: int
    """Channels of both convolutions."""
    stride: int
    """Stride of the first convolution and of the shortcut."""
    norm: Norm
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        use_bias = self.norm == "none"
        x = Conv(self.width, 3, self.stride, use_bias=use_bias, dtype=self.dtype, name="conv1")(inputs)
        x = nn.relu(make_norm(self.norm, self.dtype, "bn1")(x))
        x = Conv(self.width, 3, use_bias=use_bias, dtype=self.dtype, name="conv2")(x)
        x = make_norm(self.norm, self.dtype, "bn2")(x)
        return nn.relu(x + shortcut(inputs, self.width, self.stride, self.norm, self.dtype))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the output has four times the width."""

    width: int
    """Channels of the 3x3 convolution."""
    stride: int
    """Stride of the block."""
    norm: Norm
    """Normalisation after each convolution."""
    stride_in_1x1: bool = False
    """Whether the first 1x1 convolution takes the stride, as in MSRA's weights, rather than the 3x3 one."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        use_bias = self.norm == "none"
        stride_1x1, stride_3x3 = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        x = Conv(self.width, 1, stride_1x1, use_bias=use_bias, dtype=self.dtype, name="conv1")(inputs)
        x = nn.relu(make_norm(self.norm, self.dtype, "bn1")(x))
        x = Conv(self.width, 3, stride_3x3, use_bias=use_bias, dtype=self.dtype, name="conv2")(x)
        x = nn.relu(make_norm(self.norm, self.dtype, "bn2")(x))
        x = Conv(4 * self.width, 1, use_bias=use_bias, dtype=self.dtype, name="conv3")(x)
        x = make_norm(self.norm, self.dtype, "bn3")(x)
        return nn.relu(x + shortcut(inputs, 4 * self.width, self.stride, self.norm, self.dtype))


def shortcut(
    inputs: Float[Array, "B H W C"], features: int, stride: int, norm: Norm, dtype: DTypeLike
) -> Float[Array, "B h w O"]:
    """The block's input, projected by downsample_conv and downsample_norm where its shape is not the output's."""
    if stride == 1 and inputs.shape[-1] == features:
        return inputs
    x = Conv(features, 1, stride, use_bias=norm == "none", dtype=dtype, name="downsample_conv")(inputs)
    return make_norm(norm, dtype, "downsample_norm")(x)


class ResNet(nn.Module):
    """ResNet up to its last convolutional stage."""

    depth: Literal[18, 50, 101]
    """Number of layers."""
    norm: Norm = "frozen_batch_norm"
    """Normalisation after each convolution."""
    width: int = 64
    """Channels of the stem; stage i = 1..4 has width * 2 ** (i - 1), times 4 at the output of depths 50 and 101."""
    stride_in_1x1: bool = False
    """Whether bottlenecks take their stride in the first 1x1 convolution, as MSRA's weights do."""
    frozen_stages: int = 0
    """Parts that get no gradient: 1 the stem, 2 the stem and layer1, and so on."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, images: Float[Array, "B H W 3"]) -> tuple[Float[Array, "B _ _ _"], ...]:
        """Normalised images to the stages' outputs C2, C3, C4, C5 at strides 4, 8, 16 and 32."""
        use_bias = self.norm == "none"
        x = Conv(self.width, 7, 2, use_bias=use_bias, dtype=self.dtype, name="conv1")(images)
        x = nn.relu(make_norm(self.norm, self.dtype, "bn1")(x))
        # nn.max_pool pads with minus infinity, as torch does.
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        if self.frozen_stages >= 1:
            x = jax.lax.stop_gradient(x)
        outputs = []
        for stage, blocks in enumerate(BLOCKS_PER_STAGE[self.depth], start=1):
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                name = f"layer{stage}_{block}"
                width = self.width * 2 ** (stage - 1)
                if self.depth == 18:
                    x = BasicBlock(width, stride, self.norm, self.dtype, name=name)(x)
                else:
                    x = Bottleneck(width, stride, self.norm, self.stride_in_1x1, self.dtype, name=name)(x)
            if self.frozen_stages >= stage + 1:
                x = jax.lax.stop_gradient(x)
            outputs.append(x)
        return tuple(outputs)
