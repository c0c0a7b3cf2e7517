"""Convolutions and normalisations with torch's conventions for padding and explicit parameter names.

Shape shorthand in this module: B images, H x W input size, h x w output size, C channels, O output channels.
Maps are NHWC. Parameters are float32; the arithmetic runs in a module's `dtype`.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.ops.convolution import conv2d

Norm = Literal["frozen_batch_norm", "group_norm", "none"]

# Initialisers of kernels [..., in, out], named as in the detection literature.
msra_normal = initializers.variance_scaling(2.0, "fan_out", "normal")
"""Normal with variance 2 / fan-out (He et al.), Caffe2's MSRAFill: for convolutions followed by a ReLU."""
kaiming_uniform = initializers.variance_scaling(1.0, "fan_in", "uniform")
"""Uniform with variance 1 / fan-in, torch's kaiming_uniform_(a=1), Caffe2's XavierFill: for FPN and dense layers."""
normal_001 = initializers.normal(0.01)
"""Normal with deviation 0.01: for RPN and for class scores."""
normal_0001 = initializers.normal(0.001)
"""Normal with deviation 0.001: for box regression outputs."""


def torch_uniform(fan_in: int) -> Callable[..., Array]:
    """Uniform within 1 / sqrt(fan-in) of 0, as torch starts kernels and biases unless told otherwise."""
    bound = 1 / math.sqrt(fan_in)

    def initialise(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialise


def add_bias(outputs: Float[Array, "*b O"], bias: Float[Array, " O"]) -> Float[Array, "*b O"]:
    """The sum, computed in float32 and rounded once to the type of `outputs`.

    Added in bfloat16, the bias would get a gradient that GPUs sum up in bfloat16, over all pixels of all images.
    """
    return (outputs.astype(jnp.float32) + bias).astype(outputs.dtype)


class Conv(nn.Module):
    """Convolution with square kernels, strides and paddings. Parameters: kernel [k, k, in, out] and bias [out]."""

    features: int
    """Output channels."""
    kernel_size: int
    """Height and width of the kernel."""
    stride: int = 1
    """Step between the output's samples, in input pixels."""
    padding: int | None = None
    """Zeros added to each border; half the kernel size, rounded down, times the dilation when None."""
    use_bias: bool = True
    """Whether a bias is added."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic and of the output."""
    kernel_init: initializers.Initializer = msra_normal
    """Initialiser of the kernel; the bias starts at zero."""
    dilation: int = 1
    """Input pixels from one of the kernel's taps to the next."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        padding = self.kernel_size // 2 * self.dilation if self.padding is None else self.padding
        outputs = conv2d(
            inputs.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
        )
        if self.use_bias:
            outputs = add_bias(outputs, self.param("bias", initializers.zeros, (self.features,), jnp.float32))
        return outputs


class Dense(nn.Module):
    """Matrix product and bias. Parameters: kernel [in, out] and bias [out], as of flax's layer of this name."""

    features: int
    """Output channels."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic and of the output."""
    kernel_init: Callable[..., Array] = kaiming_uniform
    """Initialiser of the kernel."""
    bias_init: Callable[..., Array] = initializers.zeros
    """Initialiser of the bias."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "*b C"]) -> Float[Array, "*b O"]:
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features), jnp.float32)
        outputs = inputs.astype(self.dtype) @ kernel.astype(self.dtype)
        return add_bias(outputs, self.param("bias", self.bias_init, (self.features,), jnp.float32))


class OutputConv(nn.Module):
    """1x1 convolution whose sums stay in float32: bfloat16 would leave outputs 8 bits, and make many of them equal.

    Parameters: kernel [1, 1, in, out] and bias [out], as of `Conv`.
    """

    features: int
    """Output channels."""
    dtype: DTypeLike = jnp.float32
    """Type of what is multiplied; products and their sums, and the output, are float32."""
    kernel_init: initializers.Initializer = msra_normal
    """Initialiser of the kernel; the bias starts at zero."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B H W O"]:
        kernel = self.param("kernel", self.kernel_init, (1, 1, inputs.shape[-1], self.features), jnp.float32)
        outputs = jnp.einsum(
            "bhwc,co->bhwo",
            inputs.astype(self.dtype),
            kernel[0, 0].astype(self.dtype),
            preferred_element_type=jnp.float32,
        )
        return outputs + self.param("bias", initializers.zeros, (self.features,), jnp.float32)


class Deconv2x2(nn.Module):
    """Transposed 2x2 convolution with stride 2: every pixel becomes a 2x2 block of its own.

    Parameters: kernel [2, 2, in, out], where kernel[i, j] makes the block's pixel (i, j), and bias [out]. From torch's
    ConvTranspose2d weight [in, out, 2, 2]: `weight.transpose(2, 3, 0, 1)`, with no flip because blocks do not overlap.
    """

    features: int
    """Output channels."""
    use_bias: bool = True
    """Whether a bias is added."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic and of the output."""
    kernel_init: initializers.Initializer = msra_normal
    """Initialiser of the kernel; the bias starts at zero."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W O"]:
        batch, height, width, channels = inputs.shape
        kernel = self.param("kernel", self.kernel_init, (2, 2, channels, self.features), jnp.float32)
        blocks = jnp.einsum("bhwc,ijco->bhiwjo", inputs.astype(self.dtype), kernel.astype(self.dtype))
        outputs = blocks.reshape(batch, 2 * height, 2 * width, self.features)
        if self.use_bias:
            outputs = add_bias(outputs, self.param("bias", initializers.zeros, (self.features,), jnp.float32))
        return outputs


class Deconv3x3(nn.Module):
    """Transposed 3x3 convolution with stride 2, padding 1 and output padding 1, which doubles height and width.

    Computed as one 2x2 convolution to the four pixels that each input pixel becomes, which multiplies less than half as
    much as an ordinary convolution of the input with zeros between its pixels. Parameters: kernel [3, 3, in, out], that
    ordinary convolution's kernel, and bias [out]. From torch's ConvTranspose2d weight [in, out, 3, 3]:
    `weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)`, flipped because torch defines the scattering kernel.
    """

    features: int
    """Output channels."""
    use_bias: bool = True
    """Whether a bias is added."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic and of the output."""
    kernel_init: initializers.Initializer = msra_normal
    """Initialiser of the kernel; the bias starts at zero."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W O"]:
        batch, height, width, channels = inputs.shape
        kernel = self.param("kernel", self.kernel_init, (3, 3, channels, self.features), jnp.float32)
        # Of the spread input, output row 2i meets row i with the kernel's row 1; output row 2i + 1 meets the rows i and
        # i + 1 with the kernel's rows 0 and 2. Columns likewise. A fourth row and column of zeros makes pairs of them:
        # (0, 1) for tap 0 and (2, none) for tap 1, each for the odd and the even output.
        taps = jnp.pad(kernel.astype(self.dtype), ((0, 1), (0, 1), (0, 0), (0, 0)))
        taps = taps.reshape(2, 2, 2, 2, channels, self.features)[:, ::-1, :, ::-1]
        taps = taps.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * self.features)
        padded = jnp.pad(inputs.astype(self.dtype), ((0, 0), (0, 1), (0, 1), (0, 0)))
        blocks = conv2d(padded, taps).reshape(batch, height, width, 2, 2, self.features)
        outputs = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, self.features)
        if self.use_bias:
            outputs = add_bias(outputs, self.param("bias", initializers.zeros, (self.features,), jnp.float32))
        return outputs


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with constant statistics and affine values, as torchvision's FrozenBatchNorm2d.

    The values scale, bias, mean and var, all [C], live in the variable collection "frozen", so that no optimiser sees
    them; they start as the identity.
    """

    epsilon: float = 1e-5
    """Added to the variance."""
    dtype: DTypeLike = jnp.float32
    """Type of the output; the arithmetic is in float32, which costs nothing where it is fused."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        shape = inputs.shape[-1:]
        scale = self.variable("frozen", "scale", jnp.ones, shape, jnp.float32).value
        bias = self.variable("frozen", "bias", jnp.zeros, shape, jnp.float32).value
        mean = self.variable("frozen", "mean", jnp.zeros, shape, jnp.float32).value
        var = self.variable("frozen", "var", jnp.ones, shape, jnp.float32).value
        multiplier = jax.lax.stop_gradient(scale * jax.lax.rsqrt(var + self.epsilon))
        offset = jax.lax.stop_gradient(bias - mean * multiplier)
        return (inputs.astype(jnp.float32) * multiplier + offset).astype(self.dtype)


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He, 2018) of each image over space and groups of neighbouring channels.

    Parameters: scale [C] and bias [C]. The number of groups is the greatest divisor of `max_groups` that divides the
    channels, halved where it would leave groups of a single channel: those would erase a channel's contrast.
    """

    max_groups: int = 32
    """Groups where the channels allow for so many."""
    epsilon: float = 1e-5
    """Added to the variance."""
    dtype: DTypeLike = jnp.float32
    """Type of the output; statistics are computed in float32."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        batch, _, _, channels = inputs.shape
        groups = math.gcd(self.max_groups, channels)
        if groups == channels and groups > 1:
            groups //= 2
        scale = self.param("scale", initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", initializers.zeros, (channels,), jnp.float32)
        values = inputs.astype(jnp.float32)

        def group_mean(x: Float[Array, "B H W C"]) -> Float[Array, "B 1 1 C"]:
            # Over space first, channel by channel, which XLA vectorises; over a group's few channels afterwards.
            means = x.mean(axis=(1, 2)).reshape(batch, groups, channels // groups).mean(axis=-1)
            return jnp.repeat(means, channels // groups, axis=-1)[:, None, None]

        centred = values - group_mean(values)
        # The deviation is taken from centred values: the mean of squares would lose it beside a large mean.
        outputs = centred * (jax.lax.rsqrt(group_mean(jnp.square(centred)) + self.epsilon) * scale) + bias
        return outputs.astype(self.dtype)


def make_norm(norm: Norm, dtype: DTypeLike, name: str) -> Callable[[Array], Array]:
    """The normalisation called `norm`, as a submodule called `name`; for "none" the identity."""
    match norm:
        case "frozen_batch_norm":
            return FrozenBatchNorm(dtype=dtype, name=name)
        case "group_norm":
            return GroupNorm(dtype=dtype, name=name)
        case "none":
            return lambda inputs: inputs
