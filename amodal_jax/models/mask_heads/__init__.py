"""Mask stages: what turns the features of regions into masks, a file a kind.

Shape shorthand: B images, P slots of positive regions, n detections, C channels, S cells a side of the mask features,
M mask cells a side.

A mask stage is a Flax module with the methods of `MaskStage`. What is learned in it is named in the network by the
names of its submodules.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from jaxtyping import Array, Float, Int, Key

from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.models.kinds import Kind
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.models.roi_pooling import RegionFeatures

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


class MaskStage(Protocol):
    """What the detector asks of a mask stage."""

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """The kinds of masks that it predicts, of "amodal" and "inmodal"."""

    @property
    def guidance_layer(self) -> int | None:
        """The convolution of the box and occlusion branches whose features it takes; None: it takes none."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""

    @property
    def summary(self) -> tuple[str, ...]:
        """What it has, in a few words each."""

    def losses(
        self,
        features: RegionFeatures,
        targets: MaskTargets,
        guidance: tuple[Any, ...],
        keys: Key[Array, " B"],
    ) -> dict[str, Mean]:
        """Its loss terms on the positive regions of a step; `keys` are for what is drawn, one an image."""

    def masks(
        self, features: RegionFeatures, labels: Int[Array, " Bn"], guidance: tuple[Any, ...]
    ) -> dict[str, Float[Array, "Bn M M"]]:
        """The probabilities of the masks of each kind; labels count from 0, the first foreground class."""


@dataclasses.dataclass(frozen=True)
class MaskConfig(Kind):
    """The settings of a mask stage."""

    takes_guidance: ClassVar[bool] = False
    """Whether features of the box and occlusion branches can guide its masks."""

    def build(self, model: "ModelConfig") -> Any:
        """The mask stage of a network, a Flax module with the methods of `MaskStage`."""
        raise NotImplementedError
