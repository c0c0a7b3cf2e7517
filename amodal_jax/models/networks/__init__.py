"""Whole networks, a file a kind: `model.network` names the one that a configuration is of."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from amodal_jax.models.kinds import Kind

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig
    from amodal_jax.models.selection import EvaluationConfig


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Kind):
    """The settings of a network."""

    mirrors: ClassVar[bool] = False
    """Whether it unites what it finds in an image and in its mirror image where `evaluation.flip` asks for it."""

    def build(self, model: "ModelConfig", evaluation: "EvaluationConfig") -> Any:
        """The network, a Flax module with what `amodal_jax.network.Network` asks for."""
        raise NotImplementedError
