"""Two-dimensional convolution of NHWC maps with an HWIO kernel and symmetric zero padding, as torch.nn.functional.conv2d.

Shape shorthand in this module: B images, H x W input size, h x w output size, I input and O output channels,
R x S kernel size.
"""

import jax
from jax import lax
from jaxtyping import Array, Float


def conv2d(
    inputs: Float[Array, "B H W I"], kernel: Float[Array, "R S I O"], *, stride: int = 1, padding: int = 0
) -> Float[Array, "B h w O"]:
    """Correlates `inputs` with `kernel`, both of one dtype, after padding all four borders with `padding` zeros."""
    return lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
