"""Non-maximum suppression.

Shape shorthand: N boxes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amodal_jax.ops import boxes as box_ops


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
    # Row j holds what may suppress j: the reduction below then runs along the contiguous axis.
    before = (scores[None, :] > scores[:, None]) | (
        (scores[None, :] == scores[:, None]) & (index[None, :] < index[:, None])
    )
    suppressed_by = before & (box_ops.pairwise_iou(boxes, boxes) > iou_threshold)

    def step(state):
        keep, _ = state
        new = valid & ~jnp.any(suppressed_by & keep[None, :], axis=1)
        return new, jnp.any(new != keep)

    keep, _ = jax.lax.while_loop(lambda state: state[1], step, (valid, jnp.asarray(True)))
    return keep
