"""Running a network's part on as many detections as there are, in blocks of static size.

Shape shorthand in this module: B images, D detection slots, n slots of a block.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from amodal_jax.structures import SelectedBoxes

BLOCK = 16  # detections of an image that go through the mask branches at once


def as_function(module: nn.Module) -> Callable[..., Any]:
    """A bound module as a pure function of (arguments, `method`), which may be called within a `while_loop`."""
    unbound, variables = module.unbind()
    return lambda *arguments, method: unbound.apply(variables, *arguments, method=method)


def over_valid_blocks(
    function: Callable[[Float[Array, "B n 4"], Int[Array, "B n"]], Any], selected: SelectedBoxes
) -> Any:
    """`function` of (boxes, labels) in blocks of BLOCK slots, as far as any image has valid ones; 0 beyond.

    Detections are best first, so that a loop bound by their number saves the branches of the slots that are empty, most
    of them in a street scene.

    Args:
      function: gives arrays [B, n, ...] in any tree.
      selected: the detections.

    Returns:
      The same tree of arrays [B, D, ...].
    """
    batch, slots = selected.valid.shape
    length = -(-slots // BLOCK) * BLOCK
    boxes = jnp.pad(selected.boxes, ((0, 0), (0, length - slots), (0, 0)))
    labels = jnp.pad(selected.labels, ((0, 0), (0, length - slots)))
    count = jnp.max(jnp.sum(selected.valid, axis=1))

    def inputs(start):
        return (
            jax.lax.dynamic_slice_in_dim(boxes, start, BLOCK, axis=1),
            jax.lax.dynamic_slice_in_dim(labels, start, BLOCK, axis=1),
        )

    def step(state):
        start, outputs = state
        results = function(*inputs(start))
        outputs = jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=1), outputs, results
        )
        return start + BLOCK, outputs

    shapes = jax.eval_shape(lambda: function(*inputs(0)))
    empty = jax.tree.map(lambda shape: jnp.zeros((batch, length, *shape.shape[2:]), shape.dtype), shapes)
    _, outputs = jax.lax.while_loop(lambda state: state[0] < count, step, (jnp.int32(0), empty))
    valid: Bool[Array, "B D"] = selected.valid

    def trim(whole):
        return jnp.where(valid.reshape(valid.shape + (1,) * (whole.ndim - 2)), whole[:, :slots], 0)

    return jax.tree.map(trim, outputs)
