"""What a checkpoint holds: all that is needed to use it and to go on from it.

The network's variables, the optimiser's state, and a JSON with the configuration, the position in the data and, in
`best`, the evaluation's figures.
"""

import dataclasses
import zlib
from typing import Any

import jax
import numpy as np

from amodal_jax.network import Variables

ITEMS = ("variables", "optimizer", "info")
"""The items of a checkpoint, as Orbax names its folders."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    step: int
    variables: Variables
    optimizer_state: Any | None  # None where there is only a network, to use or to start from, and no run to go on with
    position: dict[str, Any] | None  # of the training data, where its iterator has one; must be JSON
    metrics: dict[str, float] | None = None  # of the evaluation, in `best`
    unlogged: dict[str, float] | None = None  # sums of the figures of steps whose average is still to be logged


def checksum_of(tree: Any) -> int:
    """Of all bytes of the arrays, as Orbax' format notices not every change of them."""
    value = 0
    for leaf in jax.tree.leaves(tree):
        value = zlib.crc32(np.ascontiguousarray(leaf).data, value)
    return value
