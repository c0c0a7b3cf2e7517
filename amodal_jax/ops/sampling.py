"""Balanced random choice of boxes for a loss.

Shape shorthand: N candidates, `size` sampled slots.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from amodal_jax.ops.top_k import top_k


@flax.struct.dataclass
class Samples:
    """Sampled candidates: the positives in the first slots, then the negatives, then slots that are not valid."""

    indices: Int[Array, "*b size"]
    """Into the candidates; 0 where not valid."""
    positive: Bool[Array, "*b size"]
    valid: Bool[Array, "*b size"]


def sample_balanced(
    key: PRNGKeyArray | Int[Array, "2"],
    positive: Bool[Array, "N"],
    negative: Bool[Array, "N"],
    *,
    size: int,
    positive_fraction: float,
) -> Samples:
    """Draws up to `size` candidates uniformly without replacement, at most a fraction of them positive.

    The counts are those of torchvision's `BalancedPositiveNegativeSampler`: as many positives as there are, up to
    floor(size * positive_fraction); negatives fill the rest as far as they go. Fewer candidates than `size` leave
    slots that are not valid.
    """
    candidates = positive.shape[0]
    most = min(size, candidates)
    if most == 0:
        empty = jnp.zeros(size, bool)
        return Samples(jnp.zeros(size, jnp.int32), empty, empty)
    positive_count = jnp.minimum(jnp.sum(positive), int(size * positive_fraction))
    negative_count = jnp.minimum(jnp.sum(negative), size - positive_count)
    luck = jax.random.uniform(key, (candidates,))
    _, (drawn_positive, drawn_negative) = top_k(jnp.where(jnp.stack([positive, negative]), luck, -1), most)

    slot = jnp.arange(size)
    from_positive = slot < positive_count
    valid = slot < positive_count + negative_count
    indices = jnp.where(
        from_positive,
        drawn_positive[jnp.minimum(slot, most - 1)],
        drawn_negative[jnp.clip(slot - positive_count, 0, most - 1)],
    )
    return Samples(jnp.where(valid, indices, 0).astype(jnp.int32), from_positive, valid)
