"""Two-dimensional convolution of NHWC maps with an HWIO kernel and symmetric zero padding, as in torch.

Shape shorthand in this module: B images, H x W input size, h x w output size, I input and O output channels,
R x S kernel size.

XLA's own gradients of a convolution are good on GPUs, where they are cuDNN's, and poor on CPUs: the kernel's gradient
is a convolution with a window as large as the image. On CPUs it is computed here as matrix products instead, which is
two to ten times as fast and sums more exactly.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

FEW_CHANNELS = 64  # input channels under which XLA's own kernel gradient is the faster one on a CPU


@partial(jax.custom_vjp, nondiff_argnames=("stride", "padding"))
def conv2d(
    inputs: Float[Array, "B H W I"], kernel: Float[Array, "R S I O"], stride: int = 1, padding: int = 0
) -> Float[Array, "B h w O"]:
    """Correlates `inputs` with `kernel`, both of one dtype, after padding all four borders with `padding` zeros.

    The gradient is defined for reverse mode only.
    """
    if kernel.shape[:2] == (1, 1) and padding == 0:
        # A strided 1x1 convolution reads a fraction of its input; XLA's CPU convolutions would not profit.
        inputs, stride = inputs[:, ::stride, ::stride], 1
    return _xla_conv2d(inputs, kernel, stride, padding)


def _xla_conv2d(inputs: Array, kernel: Array, stride: int, padding: int) -> Array:
    return lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _forward(inputs: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return conv2d(inputs, kernel, stride, padding), (inputs, kernel)


def _backward(stride: int, padding: int, residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # Chosen where the program is compiled, not by the default backend: a CPU program may be built beside a GPU.
    return lax.platform_dependent(
        *residuals,
        gradient,
        cpu=partial(_cpu_gradients, stride=stride, padding=padding),
        default=partial(_xla_gradients, stride=stride, padding=padding),
    )


conv2d.defvjp(_forward, _backward)


def _xla_gradients(inputs: Array, kernel: Array, gradient: Array, *, stride: int, padding: int) -> tuple[Array, Array]:
    return jax.vjp(partial(_xla_conv2d, stride=stride, padding=padding), inputs, kernel)[1](gradient)


def _cpu_gradients(inputs: Array, kernel: Array, gradient: Array, *, stride: int, padding: int) -> tuple[Array, Array]:
    # Without the barrier XLA recomputes the chain of cheap operations that led here inside every one of the products.
    inputs, gradient = lax.optimization_barrier((inputs, gradient))
    input_gradient, kernel_gradient = _xla_gradients(inputs, kernel, gradient, stride=stride, padding=padding)
    size = kernel.shape[0]
    if stride == 1:
        # The same as XLA's, but in the layout for which it has a fast kernel.
        flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        input_gradient = _xla_conv2d(gradient, flipped, 1, size - 1 - padding)
    if kernel.shape[2] >= FEW_CHANNELS:
        kernel_gradient = _kernel_gradient(inputs, kernel, gradient, stride=stride, padding=padding)
    return input_gradient, kernel_gradient


def _kernel_gradient(inputs: Array, kernel: Array, gradient: Array, *, stride: int, padding: int) -> Array:
    """The kernel's gradient as one matrix product over all output pixels for each of the kernel's positions."""
    rows, columns = kernel.shape[:2]
    height, width = gradient.shape[1:3]
    padded = jnp.pad(inputs, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    # The orientation in which XLA multiplies fastest: pixels run last on the left side and first on the right one.
    transposed = lax.optimization_barrier(gradient.reshape(-1, gradient.shape[-1]).T)
    products = [
        transposed
        @ lax.optimization_barrier(
            padded[
                :, row : row + (height - 1) * stride + 1 : stride, column : column + (width - 1) * stride + 1 : stride
            ].reshape(-1, inputs.shape[-1])
        )
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.stack(products).swapaxes(1, 2).reshape(kernel.shape)
