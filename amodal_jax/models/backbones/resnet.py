"""Residual networks (He et al., 2016) as a detector's backbone, with torchvision's structure and names.

Shape shorthand in this module: B images, H x W input size, h x w output size, C channels, O output channels.
"""

import dataclasses
import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.errors import require
from amodal_jax.models.layers import Conv, Norm, convolve_and_normalise, relu

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The residual network."""

    depth: Literal[18, 50, 101] = 50
    """Number of layers."""
    width: int = 64
    """Channels of the stem; stage i = 1..4 has width * 2 ** (i - 1), times 4 at the output of depths 50 and 101."""
    norm: Literal["frozen_batch_norm", "group_norm"] = "frozen_batch_norm"
    """Normalisation after each convolution."""
    stride_in_1x1: bool = False
    """Whether bottlenecks take their stride in the first 1x1 convolution, as MSRA's weights do, or in the 3x3 one."""
    frozen_stages: int = 2
    """Parts that are not trained: 1 the stem, 2 the stem and the first stage, and so on, as in fine-tuning."""

    expected_by_weights: ClassVar[tuple[str, ...]] = ("stride_in_1x1",)
    of_the_weights: ClassVar[tuple[str, ...]] = ("depth", "width", "norm")

    def __post_init__(self):
        require(self.width > 0, "model.backbone.width", "must be positive")
        require(0 <= self.frozen_stages <= 5, "model.backbone.frozen_stages", "must be within 0..5")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    width: int
    """Channels of both convolutions."""
    stride: int
    """Stride of the first convolution and of the shortcut."""
    norm: Norm
    """Normalisation after each convolution."""
    dilation: int = 1
    """Of both convolutions."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, dilation=self.dilation)
        conv1 = conv(self.width, 3, self.stride, name="conv1")
        x = relu(convolve_and_normalise(conv1, self.norm, "bn1", inputs))
        x = convolve_and_normalise(conv(self.width, 3, name="conv2"), self.norm, "bn2", x)
        return relu(x + shortcut(inputs, self.width, self.stride, self.norm, self.dtype))


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
    dilation: int = 1
    """Of the 3x3 convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        stride_1x1, stride_3x3 = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        conv1 = Conv(self.width, 1, stride_1x1, use_bias=False, dtype=self.dtype, name="conv1")
        x = relu(convolve_and_normalise(conv1, self.norm, "bn1", inputs))
        conv2 = Conv(self.width, 3, stride_3x3, use_bias=False, dtype=self.dtype, dilation=self.dilation, name="conv2")
        x = relu(convolve_and_normalise(conv2, self.norm, "bn2", x))
        conv3 = Conv(4 * self.width, 1, use_bias=False, dtype=self.dtype, name="conv3")
        x = convolve_and_normalise(conv3, self.norm, "bn3", x)
        return relu(x + shortcut(inputs, 4 * self.width, self.stride, self.norm, self.dtype))


def shortcut(
    inputs: Float[Array, "B H W C"], features: int, stride: int, norm: Norm, dtype: DTypeLike
) -> Float[Array, "B h w O"]:
    """The block's input, projected by downsample_conv and downsample_norm where its shape is not the output's."""
    if stride == 1 and inputs.shape[-1] == features:
        return inputs
    conv = Conv(features, 1, stride, use_bias=False, dtype=dtype, name="downsample_conv")
    return convolve_and_normalise(conv, norm, "downsample_norm", inputs)


class ResNet(nn.Module):
    """ResNet up to its last convolutional stage."""

    config: BackboneConfig = BackboneConfig()
    """Its settings."""
    output_stride: Literal[32, 16] = 32
    """Input pixels a cell of the last stage. At 16 that stage takes no stride; its 3x3 convolutions are dilated by two
    instead, so that they see what they would at 32, and ImageNet's weights serve (R-FCN, FCIS)."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the names of the parts begin that are not trained; their gradients are stopped."""
        stages = self.config.frozen_stages
        return ("conv1", "bn1", *(f"layer{stage}_" for stage in range(1, stages))) if stages else ()

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        dilated = ", dilated to stride 16" if self.output_stride == 16 else ""
        return f"ResNet-{self.config.depth}, {self.config.norm.replace('_', ' ')}{dilated}"

    @nn.compact
    def __call__(self, images: Float[Array, "B H W 3"]) -> tuple[Float[Array, "B _ _ _"], ...]:
        """Normalised images to the stages' outputs C2, C3, C4, C5 at strides 4, 8, 16 and `output_stride`."""
        config = self.config
        conv1 = Conv(config.width, 7, 2, use_bias=False, dtype=self.dtype, name="conv1")
        x = relu(convolve_and_normalise(conv1, config.norm, "bn1", images))
        # nn.max_pool pads with minus infinity, as torch does.
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        if config.frozen_stages >= 1:
            x = jax.lax.stop_gradient(x)
        outputs = []
        for stage, blocks in enumerate(BLOCKS_PER_STAGE[config.depth], start=1):
            dilated = stage == 4 and self.output_stride == 16
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 and not dilated else 1
                dilation = 2 if dilated else 1
                name = f"layer{stage}_{block}"
                width = config.width * 2 ** (stage - 1)
                if config.depth == 18:
                    x = BasicBlock(width, stride, config.norm, dilation, self.dtype, name=name)(x)
                else:
                    x = Bottleneck(width, stride, config.norm, config.stride_in_1x1, dilation, self.dtype, name=name)(x)
            if config.frozen_stages >= stage + 1:
                x = jax.lax.stop_gradient(x)
            outputs.append(x)
        return tuple(outputs)
