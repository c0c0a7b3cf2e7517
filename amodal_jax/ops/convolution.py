"""Two-dimensional convolution of NHWC maps with an HWIO kernel and symmetric zero padding, as in torch.

Shape shorthand in this module: B images, H x W input size, h x w output size, I input and O output channels,
R x S kernel size.

XLA's own gradients of a convolution are good on GPUs, where they are cuDNN's, and poor on CPUs: the kernel's gradient
is a convolution with a window as large as the image. On CPUs it is computed here as matrix products instead, which is
two to ten times as fast and sums more exactly.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

BLOCK_PIXELS = 512
"""Output pixels whose windows are multiplied at a time for a kernel's gradient on a CPU."""

FEW_CHANNELS = 64  # input channels under which XLA's own kernel gradient is the faster one on a CPU


@partial(jax.custom_vjp, nondiff_argnames=("stride", "padding", "dilation"))
def conv2d(
    inputs: Float[Array, "B H W I"],
    kernel: Float[Array, "R S I O"],
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Float[Array, "B h w O"]:
    """Correlates `inputs` with `kernel`, both of one dtype, after padding all four borders with `padding` zeros.

    The kernel's taps lie `dilation` input pixels apart. The gradient is defined for reverse mode only.
    """
    if kernel.shape[:2] == (1, 1) and padding == 0:
        # A strided 1x1 convolution reads a fraction of its input; XLA's CPU convolutions would not profit.
        inputs, stride = inputs[:, ::stride, ::stride], 1
    return _xla_conv2d(inputs, kernel, stride, padding, dilation)


def _xla_conv2d(inputs: Array, kernel: Array, stride: int, padding: int, dilation: int) -> Array:
    return lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _forward(
    inputs: Array, kernel: Array, stride: int, padding: int, dilation: int
) -> tuple[Array, tuple[Array, Array]]:
    return conv2d(inputs, kernel, stride, padding, dilation), (inputs, kernel)


def _backward(
    stride: int, padding: int, dilation: int, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    # Chosen where the program is compiled, not by the default backend: a CPU program may be built beside a GPU.
    form: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    return lax.platform_dependent(
        *residuals,
        gradient,
        cpu=partial(_cpu_gradients, **form),
        default=partial(_xla_gradients, **form),
    )


conv2d.defvjp(_forward, _backward)


@jax.custom_vjp
def doubling_conv2d(inputs: Float[Array, "B H W I"], kernel: Float[Array, "3 3 I O"]) -> Float[Array, "B 2*H 2*W O"]:
    """Correlates with a 3x3 kernel what `inputs` become with zeros between their pixels and on all four sides.

    Input pixel i comes to lie on output pixel 2i; there is one row and column of zeros more at the end than at the
    beginning. The gradient is defined for reverse mode only.
    """
    return lax.platform_dependent(inputs, kernel, cpu=_doubled_by_blocks, default=_doubled_by_spreading)


def _doubling_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    return lax.platform_dependent(*residuals, gradient, cpu=_gradients_by_blocks, default=_gradients_by_spreading)


doubling_conv2d.defvjp(lambda inputs, kernel: (doubling_conv2d(inputs, kernel), (inputs, kernel)), _doubling_backward)


def _halve(outputs: Array, kernel: Array) -> Array:
    """The convolution of stride 2 of which the doubling one is the gradient; cuDNN multiplies no zeros for either."""
    return _xla_conv2d(outputs, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), 2, 1, 1)


def _doubled_by_spreading(inputs: Array, kernel: Array) -> Array:
    batch, height, width, _ = inputs.shape
    outputs = jax.ShapeDtypeStruct((batch, 2 * height, 2 * width, kernel.shape[-1]), inputs.dtype)
    return jax.linear_transpose(lambda outputs: _halve(outputs, kernel), outputs)(inputs)[0]


def _gradients_by_spreading(inputs: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
    of_kernel = jax.linear_transpose(lambda kernel: _halve(gradient, kernel), kernel)(inputs)[0]
    return _halve(gradient, kernel), of_kernel


def _gradients_by_blocks(inputs: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
    return jax.vjp(_doubled_by_blocks, inputs, kernel)[1](gradient)


def _doubled_by_blocks(inputs: Array, kernel: Array) -> Array:
    """As one 2x2 convolution to the four pixels that each input pixel becomes.

    It multiplies less than half as much as an ordinary convolution of the input with zeros between its pixels, which is
    what XLA makes on a CPU.
    """
    batch, height, width, channels = inputs.shape
    features = kernel.shape[-1]
    # Of the spread input, output row 2i meets row i with the kernel's row 1; output row 2i + 1 meets the rows i and
    # i + 1 with the kernel's rows 0 and 2. Columns likewise. A fourth row and column of zeros makes pairs of them:
    # (0, 1) for tap 0 and (2, none) for tap 1, each for the odd and the even output.
    taps = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    taps = taps.reshape(2, 2, 2, 2, channels, features)[:, ::-1, :, ::-1]
    taps = taps.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * features)
    padded = jnp.pad(inputs, ((0, 0), (0, 1), (0, 1), (0, 0)))
    blocks = conv2d(padded, taps).reshape(batch, height, width, 2, 2, features)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, features)


def _xla_gradients(inputs: Array, kernel: Array, gradient: Array, **form: Any) -> tuple[Array, Array]:
    return jax.vjp(partial(_xla_conv2d, **form), inputs, kernel)[1](gradient)


def _cpu_gradients(
    inputs: Array, kernel: Array, gradient: Array, *, stride: int, padding: int, dilation: int
) -> tuple[Array, Array]:
    if stride == 1:
        # The same as XLA's, but in the layout for which it has a fast kernel.
        flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        input_gradient = _xla_conv2d(gradient, flipped, 1, dilation * (kernel.shape[0] - 1) - padding, dilation)
    else:
        input_gradient, _ = _xla_gradients(inputs, kernel, gradient, stride=stride, padding=padding, dilation=dilation)
    return input_gradient, _kernel_gradient(inputs, kernel, gradient, stride=stride, padding=padding, dilation=dilation)


def _kernel_gradient(
    inputs: Array, kernel: Array, gradient: Array, *, stride: int, padding: int, dilation: int
) -> Array:
    """The sum over blocks of output pixels of the product of their windows [pixels, R*S*I] and gradients [pixels, O].

    A block is some rows of one image or some whole images, so few that its windows stay in the processor's cache.
    """
    rows, columns, in_channels, out_channels = kernel.shape
    batch, height, width, _ = gradient.shape
    if rows == columns == 1 and padding == 0:
        products = _product_over_pixels(inputs[:, ::stride, ::stride], gradient)
        return products.reshape(kernel.shape).astype(kernel.dtype)

    # Equal blocks; those that reach beyond the last row or image meet zeros.
    row_blocks = min(height, -(-height * width // BLOCK_PIXELS))
    block_height = -(-height // row_blocks)
    image_blocks = -(-batch // max(1, BLOCK_PIXELS // (block_height * width)))
    block_batch = -(-batch // image_blocks)
    more_images, more_rows = image_blocks * block_batch - batch, row_blocks * block_height - height
    inputs = jnp.pad(inputs, ((0, more_images), (padding, padding + more_rows * stride), (padding, padding), (0, 0)))
    gradient = jnp.pad(gradient, ((0, more_images), (0, more_rows), (0, 0), (0, 0)))
    window_rows = (block_height - 1) * stride + (rows - 1) * dilation + 1

    def add_block(index: Array, total: Array) -> Array:
        image, row = (index // row_blocks) * block_batch, (index % row_blocks) * block_height
        block = lax.dynamic_slice(
            inputs, (image, row * stride, 0, 0), (block_batch, window_rows, inputs.shape[2], in_channels)
        )
        block_gradient = lax.dynamic_slice(
            gradient, (image, row, 0, 0), (block_batch, block_height, width, out_channels)
        )
        windows = [
            block[:, i : i + (block_height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
            for i in range(0, rows * dilation, dilation)
            for j in range(0, columns * dilation, dilation)
        ]
        return total + _product_over_pixels(jnp.concatenate(windows, axis=-1), block_gradient)

    total = jnp.zeros((rows * columns * in_channels, out_channels), jnp.float32)
    total = lax.fori_loop(0, image_blocks * row_blocks, add_block, total)
    return total.reshape(kernel.shape).astype(kernel.dtype)


def _product_over_pixels(left: Array, right: Array) -> Array:
    # As matrices: of a product over three axes XLA would write a transposed copy first.
    left, right = (x.reshape(-1, x.shape[-1]) for x in (left, right))
    return lax.dot_general(left, right, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
