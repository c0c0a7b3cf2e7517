"""PANet's fully-connected fusion: a dense layer's view of the whole region joins the mask branch (Liu et al., 2018).

Shape shorthand in this module: N regions, S cells a side of the mask features, M = 2 S mask cells a side.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.layers import Conv, Dense, Norm, make_norm, relu, torch_uniform


class FullyConnectedFusion(nn.Module):
    """Two 3x3 convolutions, of which the second halves the channels, and a dense layer to all cells of a mask.

    Without `relu` it is the form of the official KINS code, with it that of PANet's own (which starts the dense layer's
    kernel as normal with deviation 0.01). Cells are in the order of rows.
    """

    channels: int
    """Channels of the first convolution."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    relu: bool = False
    """Whether a ReLU follows the dense layer, so that it can only add foreground."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(self, features: Float[Array, "N S S _"]) -> Float[Array, "N 2*S 2*S"]:
        x = features
        for number, channels in enumerate((self.channels, self.channels // 2), start=1):
            name = f"conv{number}"
            conv = Conv(channels, 3, use_bias=self.norm == "none", dtype=self.dtype, name=name)
            x = relu(make_norm(self.norm, self.dtype, f"{name}_norm")(conv(x)))
        regions, side = x.shape[0], 2 * x.shape[1]
        flat = x.reshape(regions, -1)
        kernel_init = initializers.normal(0.01) if self.relu else torch_uniform(flat.shape[-1])
        bias_init = initializers.zeros if self.relu else torch_uniform(flat.shape[-1])
        dense = Dense(side * side, dtype=self.dtype, kernel_init=kernel_init, bias_init=bias_init, name="fc")
        logits = dense(flat).astype(jnp.float32).reshape(regions, side, side)
        return relu(logits) if self.relu else logits
