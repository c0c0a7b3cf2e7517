"""Necks: what stands between the backbone's stages and the levels that the detector reads, a file a kind.

A neck is a module from C2..C5 to levels of `fpn_channels` each. It is called "fpn" in the network, so that the layers
that necks have in common have one name.
"""

import dataclasses
from typing import TYPE_CHECKING

from flax import linen as nn

from amodal_jax.models.kinds import Kind

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig

LEVEL_STRIDES = (4, 8, 16, 32, 64)
"""Input pixels a cell of each level that a neck gives, P2..P6."""


@dataclasses.dataclass(frozen=True)
class NeckConfig(Kind):
    """The settings of a neck."""

    def build(self, model: "ModelConfig") -> nn.Module:
        """The neck of a network."""
        raise NotImplementedError
