"""Attention between the cells of regions, and dropout.

Shape shorthand in this module: B images, N = B P regions (P of each image), T queries, S keys and values, H heads, d
channels of a head, C = H d channels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from amodal_jax.models.layers import Dense, torch_uniform

# torch draws the three projections of its attention as one [C, 3 C], whose fan-in and fan-out are 4 C together.
_packed_xavier = initializers.variance_scaling(0.5, "fan_avg", "uniform")


def dropout(values: Float[Array, "N *_"], rate: float, keys: Key[Array, " B"] | None) -> Float[Array, "N *_"]:
    """Puts zeros in the place of a share `rate` of the values, and makes up for them in the others.

    Each image's are drawn by its own key, so that they do not depend on what other images a device has.

    Args:
      values: of regions, image after image.
      rate: the probability of a zero.
      keys: one an image; None in inference, which leaves all values as they are.
    """
    if keys is None or rate == 0:
        return values
    of_images = values.reshape(len(keys), -1, *values.shape[1:])
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, of_images.shape[1:]))(keys)
    return jnp.where(kept, of_images / (1 - rate), 0).reshape(values.shape)


def split_keys(keys: Key[Array, " B"] | None, parts: int) -> list[Key[Array, " B"] | None]:
    """Keys of each image for so many draws; None for each where there are none."""
    if keys is None:
        return [None] * parts
    return list(jax.vmap(lambda key: jax.random.split(key, parts), out_axes=1)(keys))


def attend(
    queries: Float[Array, "N T H d"],
    keys: Float[Array, "N S H d"],
    values: Float[Array, "N S H d"],
    *,
    rate: float = 0.0,
    random_keys: Key[Array, " B"] | None = None,
) -> Float[Array, "N T H d"]:
    """Scaled dot-product attention (Vaswani et al., 2017), with dropout of its weights.

    Scores and their softmax are in float32 whatever comes in; the weights and the output have the type of the values.
    """
    scores = jnp.einsum("nthd,nshd->nhts", queries, keys, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores * queries.shape[-1] ** -0.5, axis=-1).astype(values.dtype)
    return jnp.einsum("nhts,nshd->nthd", dropout(weights, rate, random_keys), values)


class MultiHeadAttention(nn.Module):
    """Attention of several heads with projections before and after it, as `torch.nn.MultiheadAttention`.

    Layers: query, key, value and output, each from C to C channels.
    """

    heads: int
    """H, which divides the channels."""
    dropout: float = 0.0
    """Rate of dropout of the attention's weights."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic and of the output."""

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "N T C"],
        keys: Float[Array, "N S C"],
        values: Float[Array, "N S C"],
        random_keys: Key[Array, " B"] | None = None,
    ) -> Float[Array, "N T C"]:
        """Attention of `queries` to `keys`; `random_keys` are for dropout, None in inference."""
        channels = queries.shape[-1]

        def project(name: str, inputs: Float[Array, "N _ C"]) -> Float[Array, "N _ H d"]:
            outputs = Dense(channels, dtype=self.dtype, kernel_init=_packed_xavier, name=name)(inputs)
            return outputs.reshape(*outputs.shape[:2], self.heads, channels // self.heads)

        projected = (project("query", queries), project("key", keys), project("value", values))
        attended = attend(*projected, rate=self.dropout, random_keys=random_keys)
        kernel_init = torch_uniform(channels)
        dense = Dense(channels, dtype=self.dtype, kernel_init=kernel_init, name="output")
        return dense(attended.reshape(queries.shape))
