"""Convolutions and normalisations with torch's conventions for padding and explicit parameter names.

Shape shorthand in this module: B images, H x W input size, h x w output size, C channels, O output channels.
Maps are NHWC. Parameters are float32; the arithmetic runs in a module's `dtype`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from amodal_jax.ops.convolution import conv2d, doubling_conv2d

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


@jax.custom_vjp
def add_bias(outputs: Float[Array, "*b O"], bias: Float[Array, " O"]) -> Float[Array, "*b O"]:
    """The sum, in the type of `outputs`, as which cuDNN adds a bias while it convolves.

    The bias's gradient is summed in float32 over all pixels of all images, which GPUs would otherwise do in bfloat16.
    It is defined for reverse mode only.
    """
    return outputs + bias.astype(outputs.dtype)


def _bias_gradients(_: None, gradient: Array) -> tuple[Array, Array]:
    return gradient, jnp.sum(gradient, axis=tuple(range(gradient.ndim - 1)), dtype=jnp.float32)


add_bias.defvjp(lambda outputs, bias: (add_bias(outputs, bias), None), _bias_gradients)


@jax.custom_vjp
def relu(inputs: Float[Array, "..."]) -> Float[Array, "..."]:
    """The positive part; the gradient is 0 where the input is not positive, and defined for reverse mode only.

    Values and gradients are those of `jax.nn.relu`. The gradient remembers the output, which the next layer's does as
    well: the input need not be stored, nor where it was positive, and cuDNN can rectify while it convolves.
    """
    return jnp.maximum(inputs, 0)


def _relu_forward(inputs: Array) -> tuple[Array, Array]:
    # Without the barrier XLA sees that the output is positive where the input is, and remembers the input.
    outputs = jax.lax.optimization_barrier(relu(inputs))
    return outputs, outputs


relu.defvjp(_relu_forward, lambda outputs, gradient: (jnp.where(outputs > 0, gradient, 0),))


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
    def __call__(
        self, inputs: Float[Array, "B H W C"], multiplier: Float[Array, " O"] | None = None
    ) -> Float[Array, "B h w O"]:
        """The convolution; each output channel's kernel is first multiplied by `multiplier` where one is given."""
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        kernel = kernel if multiplier is None else kernel * multiplier
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
    def parameters(self, channels: int) -> tuple[Float[Array, "C O"], Float[Array, " O"]]:
        """Kernel, in the type of the arithmetic, and bias."""
        kernel = self.param("kernel", self.kernel_init, (1, 1, channels, self.features), jnp.float32)
        return kernel[0, 0].astype(self.dtype), self.param("bias", initializers.zeros, (self.features,), jnp.float32)

    def __call__(self, inputs: Float[Array, "B H *b C"]) -> Float[Array, "B H *b O"]:
        return output_convolutions((self,), inputs)[0]

    def chosen(self, inputs: Float[Array, "N *b C"], channels: Int[Array, " N"]) -> Float[Array, "N *b"]:
        """Of each of N inputs the one output channel that is named for it; the others are not computed."""
        kernel, bias = self.parameters(inputs.shape[-1])
        choice = jax.nn.one_hot(channels, self.features, dtype=self.dtype)
        # Sums of one term: exact. Indexing would be summed up by scattering in the gradient.
        kernels = jnp.dot(choice, kernel.T, precision=jax.lax.Precision.HIGHEST)
        outputs = jnp.einsum("n...c,nc->n...", inputs.astype(self.dtype), kernels, preferred_element_type=jnp.float32)
        biases = jnp.sum(choice.astype(jnp.float32) * bias, axis=-1)
        return outputs + biases.reshape(-1, *(1,) * (outputs.ndim - 1))


def output_convolutions(
    convs: Sequence[OutputConv], inputs: Float[Array, "B H *b C"]
) -> list[Float[Array, "B H *b _"]]:
    """The outputs of several convolutions of the same input, which is read once for all of them."""
    kernels, biases = zip(*(conv.parameters(inputs.shape[-1]) for conv in convs), strict=True)
    outputs = _product_in_float32(inputs.astype(convs[0].dtype), jnp.concatenate(kernels, axis=-1))
    outputs = outputs + jnp.concatenate(biases)
    ends = np.cumsum([conv.features for conv in convs])[:-1]
    return jnp.split(outputs, ends, axis=-1)


@jax.custom_vjp
def _product_in_float32(inputs: Float[Array, "B H *b C"], kernel: Float[Array, "C O"]) -> Float[Array, "B H *b O"]:
    """The product over channels, in float32; its gradients are those of a 1x1 convolution in the type of `inputs`."""
    # Without the barrier XLA copies the levels of a pyramid, which meet one kernel, into one array.
    inputs, kernel = jax.lax.optimization_barrier((inputs, kernel))
    return jnp.dot(inputs, kernel, preferred_element_type=jnp.float32)


def _product_gradients(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    inputs, kernel = residuals
    maps, gradients = (x.astype(inputs.dtype).reshape(*x.shape[:2], -1, x.shape[-1]) for x in (inputs, gradient))
    of_maps, of_kernel = jax.vjp(conv2d, maps, kernel[None, None])[1](gradients)
    return of_maps.reshape(inputs.shape), of_kernel[0, 0]


_product_in_float32.defvjp(
    lambda inputs, kernel: (_product_in_float32(inputs, kernel), (inputs, kernel)), _product_gradients
)


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
    in_blocks: bool = False
    """Whether the output is [B, H, W, 4 O], each pixel's block among its channels, for what sees each pixel alone: as
    few channels as are made of it, [B, H, W, 2, 2, K], cost less to bring to their places by `blocks_to_pixels`."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W O"] | Float[Array, "B H W _"]:
        batch, height, width, channels = inputs.shape
        kernel = self.param("kernel", self.kernel_init, (2, 2, channels, self.features), jnp.float32)
        # As a 1x1 convolution, to which cuDNN adds the bias and the ReLU.
        kernel = kernel.astype(self.dtype).transpose(2, 0, 1, 3).reshape(1, 1, channels, 4 * self.features)
        outputs = conv2d(inputs.astype(self.dtype), kernel)
        if self.use_bias:
            bias = self.param("bias", initializers.zeros, (self.features,), jnp.float32)
            outputs = add_bias(outputs, jnp.tile(bias, 4))
        if self.in_blocks:
            return outputs
        return blocks_to_pixels(outputs.reshape(batch, height, width, 2, 2, self.features))


def blocks_to_pixels(blocks: Float[Array, "B H W 2 2 O"]) -> Float[Array, "B 2*H 2*W O"]:
    """Each pixel's block of 2x2 to its place in the larger map."""
    batch, height, width, _, _, channels = blocks.shape
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels)


class Deconv3x3(nn.Module):
    """Transposed 3x3 convolution with stride 2, padding 1 and output padding 1, which doubles height and width.

    Parameters: kernel [3, 3, in, out], that of an ordinary convolution of the input with zeros between its pixels, and
    bias [out]. From torch's ConvTranspose2d weight [in, out, 3, 3]: `weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)`,
    flipped because torch defines the scattering kernel.
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
        kernel = self.param("kernel", self.kernel_init, (3, 3, inputs.shape[-1], self.features), jnp.float32)
        outputs = doubling_conv2d(inputs.astype(self.dtype), kernel.astype(self.dtype))
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
    def constants(self, channels: int) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
        """What each channel is multiplied by, and what is then added to it."""
        scale = self.variable("frozen", "scale", jnp.ones, (channels,), jnp.float32).value
        bias = self.variable("frozen", "bias", jnp.zeros, (channels,), jnp.float32).value
        mean = self.variable("frozen", "mean", jnp.zeros, (channels,), jnp.float32).value
        var = self.variable("frozen", "var", jnp.ones, (channels,), jnp.float32).value
        multiplier = jax.lax.stop_gradient(scale * jax.lax.rsqrt(var + self.epsilon))
        return multiplier, jax.lax.stop_gradient(bias - mean * multiplier)

    def __call__(self, inputs: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        multiplier, offset = self.constants(inputs.shape[-1])
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


def convolve_and_normalise(
    conv: Conv, norm: Norm, name: str, inputs: Float[Array, "B H W C"]
) -> Float[Array, "B h w O"]:
    """A convolution without a bias and the normalisation `norm` behind it, as a submodule called `name`.

    Frozen batch normalisation multiplies the kernel instead of its output and becomes the convolution's bias, which is
    the same but for rounding and stores no map in between.
    """
    if norm != "frozen_batch_norm":
        return make_norm(norm, conv.dtype, name)(conv(inputs))
    multiplier, offset = FrozenBatchNorm(name=name).constants(conv.features)
    return add_bias(conv(inputs, multiplier), offset)
