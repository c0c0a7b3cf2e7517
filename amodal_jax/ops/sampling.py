"""Choice of boxes for a loss: balanced and random, or the hardest.

Shape shorthand: N candidates, `size` sampled slots.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

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


def sample_graded(
    key: PRNGKeyArray | Int[Array, "2"],
    positive: Bool[Array, "N"],
    near: Bool[Array, "N"],
    far: Bool[Array, "N"],
    *,
    size: int,
    positive_fraction: float,
    near_fraction: float,
) -> Samples:
    """Draws up to `size` candidates, at most a fraction of them positive, and negatives of two grades.

    What positives leave is shared between negatives that are near to an object and those that are far, each drawn
    uniformly without replacement as far as they go: what one grade has too few of, the other does not fill (MNC,
    `proposal_target_layer.py`).

    Args:
      key: of the draw.
      positive: which candidates are.
      near: which are negative, and near to an object.
      far: which are negative, and far from all.
      size: slots of the sample.
      positive_fraction: of `size`, at most, rounded down.
      near_fraction: of the slots that are not positive, rounded to the nearest, halves to the even one.
    """
    candidates = positive.shape[0]
    most = min(size, candidates)
    shares = jnp.asarray(np.round(np.arange(size + 1) * near_fraction).astype(np.int32))
    positive_count = jnp.minimum(jnp.sum(positive), int(size * positive_fraction))
    near_share = shares[size - positive_count]
    near_count = jnp.minimum(jnp.sum(near), near_share)
    far_count = jnp.minimum(jnp.sum(far), size - positive_count - near_share)
    luck = jax.random.uniform(key, (candidates,))
    _, drawn = top_k(jnp.where(jnp.stack([positive, near, far]), luck, -1), most)

    slot = jnp.arange(size)
    ends = jnp.cumulative_sum(jnp.stack([positive_count, near_count, far_count]))
    grade = jnp.sum(slot[:, None] >= ends, axis=1)
    valid = grade < len(ends)
    start = jnp.concatenate([jnp.zeros(1, ends.dtype), ends])[grade]
    indices = drawn[jnp.minimum(grade, len(ends) - 1), jnp.clip(slot - start, 0, most - 1)]
    return Samples(jnp.where(valid, indices, 0).astype(jnp.int32), grade == 0, valid)


def sample_hardest(losses: Float[Array, "N"], valid: Bool[Array, "N"], *, size: int) -> Bool[Array, "N"]:
    """The `size` valid candidates of the greatest loss: online hard example mining (Shrivastava et al., 2016).

    All of them where there are no more; of equal losses the lower index first, as in FCIS' `box_annotator_ohem.py`. No
    gradient flows to the losses.
    """
    ranked = jnp.where(valid, jax.lax.stop_gradient(losses), -jnp.inf)
    _, hardest = jax.lax.top_k(ranked, min(size, losses.shape[0]))
    return valid & jnp.zeros_like(valid).at[hardest].set(True)
