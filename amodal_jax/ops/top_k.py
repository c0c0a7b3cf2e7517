"""The greatest values, where nothing hangs on the order of equal ones.

Shape shorthand: N values, K of them taken; `*b` any leading dimensions.
"""

import inspect

import jax
from jaxtyping import Array, Float, Int

# From JAX 0.12 on. A stable top_k of many values is a full sort on a GPU.
_UNSTABLE = {"is_stable": False} if "is_stable" in inspect.signature(jax.lax.top_k).parameters else {}


def top_k(values: Float[Array, "*b N"], count: int) -> tuple[Float[Array, "*b K"], Int[Array, "*b K"]]:
    """The `count` greatest values, greatest first, and their indices; which of equal values come first is left open."""
    greatest, places = jax.lax.top_k(values, count, **_UNSTABLE)
    return greatest, places
