"""The occlusion branch's settings and output (paper section 4.1, Table 6); its layers are the box branch's.

Shape shorthand in this module: N regions, F hidden channels.
"""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from amodal_jax.errors import require
from amodal_jax.models.layers import Dense, normal_001
from amodal_jax.occlusion import OCCLUSION_THRESHOLD


@dataclasses.dataclass(frozen=True)
class OcclusionConfig:
    """The occlusion classification branch (paper section 4.1, Table 6)."""

    enabled: bool = True
    """Whether there is one."""
    threshold: float = OCCLUSION_THRESHOLD
    """The branch is trained to find instances of which invisible area / amodal area is over this."""
    positive_weight: float = 8.0
    """Weight of occluded regions in the loss."""

    def __post_init__(self):
        require(0 <= self.threshold < 1, "model.occlusion.threshold", "must be within [0, 1)")
        require(self.positive_weight > 0, "model.occlusion.positive_weight", "must be positive")


class OcclusionPredictor(nn.Module):
    """Two logits, not occluded and occluded, from the occlusion branch's hidden vector (paper section 4.1)."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "N F"]) -> Float[Array, "N 2"]:
        return Dense(2, kernel_init=normal_001, name="occ_score")(hidden.astype(jnp.float32))
