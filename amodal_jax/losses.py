"""Loss terms as pure functions, each a masked sum over a count.

Shape shorthand: N regions or anchors (all images of a device flattened), K foreground classes, M mask cells a side.

A term is returned as a `Mean`, its two parts apart: summed over devices before they are divided, they give the loss of
the global batch however it was spread, which a mean of the devices' means does not.
"""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from amodal_jax.structures import Array as Leaf


@struct.dataclass
class Mean:
    """A mean whose numerator and denominator are still apart."""

    total: Leaf  # float32 scalar
    count: Leaf  # float32 scalar


def mean(mean_: Mean, axis_name: str | None = None) -> Float[Array, ""]:
    """Total / count, with the count summed over `axis_name` where one is given; 0 where the count is 0.

    Under `pmap` each device thus gets its share of the global mean: shares (and their gradients) add up by `psum`.
    """
    count = mean_.count if axis_name is None else jax.lax.psum(mean_.count, axis_name)
    return mean_.total / jnp.where(count > 0, count, 1)


def objectness(logits: Float[Array, " N"], positive: Bool[Array, " N"], valid: Bool[Array, " N"]) -> Mean:
    """Binary cross-entropy of sampled anchors (torchvision's RPN)."""
    loss = optax.sigmoid_binary_cross_entropy(logits, positive.astype(logits.dtype))
    return Mean(jnp.sum(loss * valid), jnp.sum(valid, dtype=jnp.float32))


def box_regression(
    deltas: Float[Array, "N 4"],
    targets: Float[Array, "N 4"],
    positive: Bool[Array, " N"],
    valid: Bool[Array, " N"],
    *,
    beta: float = 1 / 9,
) -> Mean:
    """Smooth L1 summed over the positive boxes, over the count of all sampled ones (torchvision, Fast R-CNN).

    `beta` is where the quadratic part ends: torchvision's 1/9.
    """
    loss = smooth_l1(deltas, targets, beta=beta)
    return Mean(
        jnp.sum(jnp.where((positive & valid)[:, None], loss, 0.0)),
        jnp.sum(valid, dtype=jnp.float32),
    )


def smooth_l1(values: Float[Array, "*b"], targets: Float[Array, "*b"], *, beta: float) -> Float[Array, "*b"]:
    """The smooth L1 distance of each value: quadratic up to a difference of `beta`, linear beyond (Fast R-CNN)."""
    difference = jnp.abs(values - targets)
    return jnp.where(difference < beta, 0.5 * difference**2 / beta, difference - 0.5 * beta)


def classification(logits: Float[Array, "N K1"], labels: Int[Array, " N"], valid: Bool[Array, " N"]) -> Mean:
    """Cross-entropy over background (label 0) and the K foreground classes (labels 1..K)."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return Mean(jnp.sum(loss * valid), jnp.sum(valid, dtype=jnp.float32))


def occlusion(
    logits: Float[Array, "N 2"], occluded: Bool[Array, " N"], valid: Bool[Array, " N"], *, positive_weight: float
) -> Mean:
    """Weighted cross-entropy of the occlusion branch (paper section 4.1), a weighted mean as in the official code.

    `occluded` is false for background RoIs, which count like every other.
    """
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, occluded.astype(jnp.int32))
    weight = jnp.where(occluded, positive_weight, 1.0) * valid
    return Mean(jnp.sum(loss * weight), jnp.sum(weight))


def mask(logits: Float[Array, "N M M"], targets: Float[Array, "N M M"], valid: Bool[Array, " N"]) -> Mean:
    """Binary cross-entropy over the cells of the true class's mask (Mask R-CNN)."""
    loss = optax.sigmoid_binary_cross_entropy(logits, targets)
    cells = logits.shape[-1] * logits.shape[-2]
    # Mask by mask first: one float32 sum over all cells would lose two digits on a CPU.
    return Mean(jnp.sum(jnp.sum(loss, axis=(1, 2)) * valid), jnp.sum(valid, dtype=jnp.float32) * cells)


def scaled(mean_: Mean, weight: float) -> Mean:
    """A term of that weight in the sum of all."""
    return Mean(mean_.total * weight, mean_.count)
