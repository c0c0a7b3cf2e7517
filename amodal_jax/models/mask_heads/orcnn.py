"""ORCNN's masks: amodal and inmodal branches that also have to agree on what is hidden (Follmann et al., 2019).

The semantics are those of the re-creation waiyulam/ORCNN: the logits of the invisible part are the amodal logits less
the positive part of the inmodal ones, and are trained against where the two true masks differ. It adds no parameters.

Shape shorthand in this module: B images, P slots of positive regions, C channels, S cells a side of the mask features.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from flax import linen as nn
from jaxtyping import Array, Key

from amodal_jax import losses as loss
from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.mask_heads.branches import BranchesConfig, MaskBranches, mask_terms
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.models.roi_pooling import RegionFeatures

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class ORCNNConfig(BranchesConfig):
    """ORCNN's mask stage; its branches have the settings of those without the invisible part."""

    def check(self, model: "ModelConfig") -> None:
        """Refuses a network with one kind of mask.

        Raises:
          ConfigError: names the field.
        """
        super().check(model)
        for name in ("amodal_mask", "inmodal_mask"):
            needed = getattr(model.heads, name)
            require(
                needed, f"model.heads.{name}", 'must be true with model.mask.kind = "orcnn", which compares the two'
            )

    def build(self, model: "ModelConfig") -> "ORCNNMasks":
        """The mask stage of a network."""
        return ORCNNMasks(self, model.heads, model.mlc, model.classes, model.dtype)


class ORCNNMasks(MaskBranches):
    """The two mask branches, and the term of the invisible part between them."""

    @property
    def summary(self) -> tuple[str, ...]:
        """What it has, in a few words each."""
        return (*super().summary, "invisible part by difference")

    def losses(
        self,
        features: RegionFeatures,
        targets: MaskTargets,
        guidance: tuple[Any, ...],
        keys: Key[Array, " B"],
    ) -> dict[str, Mean]:
        """The binary cross-entropies of the amodal, the inmodal and the invisible mask of the true class."""
        logits = self.logits(features, targets.labels, guidance)
        invisible = logits["amodal"] - nn.relu(logits["inmodal"])
        hidden = targets.invisible(invisible.shape[-1])
        return mask_terms(logits, targets) | {"invisible_mask": loss.mask(invisible, hidden, targets.valid)}
