"""Non-maximum suppression.

Shape shorthand: N boxes, W words of 32 boxes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from amodal_jax.ops import boxes as box_ops

WORD = 32
"""Boxes of which a word holds whether they suppress a certain one."""


def nms(
    boxes: Float[Array, "N 4"], scores: Float[Array, "N"], valid: Bool[Array, "N"], iou_threshold: float
) -> Bool[Array, "N"]:
    """Exact greedy non-maximum suppression; the kept boxes are those of `torchvision.ops.nms` on the valid ones.

    A box is kept when no kept box before it has an IoU with it above `iou_threshold`. Boxes go by descending score, of
    equal scores the lower index first. For classes or levels apart, `jax.vmap` over them.

    The greedy loop is sequential. Instead keep(j) = no i before j with suppresses(i, j) and keep(i) is iterated from
    keep = valid until nothing changes: after step t everything that depends on chains of at most t suppressions is
    final, so that the fixpoint is the greedy result, and a few steps reach it.
    """
    boxes, scores = jax.lax.stop_gradient((boxes, scores))
    index = jnp.arange(boxes.shape[0])
    # Row j holds what may suppress j: the reductions below then run along the contiguous axis.
    before = (scores[None, :] > scores[:, None]) | (
        (scores[None, :] == scores[:, None]) & (index[None, :] < index[:, None])
    )
    suppressed_by = before & (box_ops.pairwise_iou(boxes, boxes) > iou_threshold)
    return jax.lax.platform_dependent(suppressed_by, valid, cpu=_keep_by_bytes, default=_keep_by_words)


def _keep_by_bytes(suppressed_by: Bool[Array, "N N"], valid: Bool[Array, " N"]) -> Bool[Array, " N"]:
    """Each step reads the matrix; a CPU has it in its cache, and would pack it more slowly than it reads it."""

    def step(state):
        keep, _ = state
        new = valid & ~jnp.any(suppressed_by & keep[None, :], axis=1)
        return new, jnp.any(new != keep)

    keep, _ = jax.lax.while_loop(lambda state: state[1], step, (valid, jnp.asarray(True)))
    return keep


def _keep_by_words(suppressed_by: Bool[Array, "N N"], valid: Bool[Array, " N"]) -> Bool[Array, " N"]:
    """Each step reads an eighth of the matrix, which is never stored: a GPU packs it while it computes it."""
    count = suppressed_by.shape[0]
    word_count = -(-count // WORD)

    def pack(flags: Bool[Array, "*b N"]) -> UInt32[Array, "*b W"]:
        padded = jnp.pad(flags, ((0, 0),) * (flags.ndim - 1) + ((0, word_count * WORD - count),))
        bits = padded.reshape(*flags.shape[:-1], word_count, WORD).astype(jnp.uint32)
        return jnp.sum(bits << jnp.arange(WORD, dtype=jnp.uint32), axis=-1, dtype=jnp.uint32)

    words = pack(suppressed_by)

    def step(state):
        keep, _ = state
        new = valid & ~jnp.any((words & pack(keep)) != 0, axis=1)
        return new, jnp.any(new != keep)

    keep, _ = jax.lax.while_loop(lambda state: state[1], step, (valid, jnp.asarray(True)))
    return keep
