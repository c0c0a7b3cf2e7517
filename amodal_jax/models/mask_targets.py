"""What the masks of a step's positive regions are to become, each kind computed where it is asked for.

Shape shorthand in this module: B images, G ground-truth slots, P slots of positive regions, M mask cells a side.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from amodal_jax.ops import occluders
from amodal_jax.ops.masks import mask_targets
from amodal_jax.structures import GroundTruth, RoISamples

MaskKind = Literal["amodal", "inmodal"]
OccluderRule = Literal["overlap", "orders"]
"""Which objects are the occluders of an object.

- "overlap": all whose visible part has a box that overlaps its box, nearer or not; the published heads learn these, as
  the files that they were trained on have no depth order.
- "orders": the nearer ones of its cluster that are seen where it is hidden; where its depth order is unknown, as above.
"""


@dataclasses.dataclass(frozen=True)
class MaskTargets:
    """The positive regions of a step and their targets; masks see no others (paper section 4.2)."""

    truth: GroundTruth
    """With boxes in pixels of the network's input."""
    boxes: Float[Array, "B P 4"]
    """The regions, in the same pixels."""
    truth_index: Int[Array, "B P"]
    """The instance of each."""
    valid: Bool[Array, " BP"]
    """Which slots hold a positive region, flattened over the images."""

    @classmethod
    def of(cls, samples: RoISamples, truth: GroundTruth, slots: int) -> "MaskTargets":
        """Those of sampled regions, of which the first `slots` of each image hold all positive ones."""
        valid = (samples.positive & samples.valid)[:, :slots].reshape(-1)
        return cls(truth, samples.boxes[:, :slots], samples.truth_index[:, :slots], valid)

    @property
    def labels(self) -> Int[Array, " BP"]:
        """The class of each region, where 0 is the background."""
        return jnp.take_along_axis(self.truth.labels, self.truth_index, axis=1).reshape(-1) + 1

    def masks(self, kind: MaskKind, size: int, threshold: float = 0.5) -> Float[Array, "BP M M"]:
        """The amodal or the inmodal mask of each region's instance within the region, of `size` cells a side.

        A cell is 1 from the share `threshold` on that the mask covers of it.
        """
        crops = self.truth.amodal_crops if kind == "amodal" else self.truth.inmodal_crops
        targets = jax.vmap(lambda *image: mask_targets(*image, size=size, threshold=threshold))(
            crops, self.truth.boxes, self.boxes, self.truth_index
        )
        return targets.reshape(-1, size, size)

    def invisible(self, size: int) -> Float[Array, "BP M M"]:
        """What is hidden of each region's instance within the region: where its two masks differ."""
        return jnp.abs(self.masks("amodal", size) - self.masks("inmodal", size))

    def occluder(self, size: int, rule: OccluderRule) -> Float[Array, "BP M M"]:
        """What is seen of the occluders of each region's instance, within the region and the instance's amodal box.

        Neither crowds nor slots without an object are occluders.
        """
        truth = self.truth
        slots = jnp.arange(1, truth.valid.shape[1] + 1)
        count = jnp.max(jnp.where(truth.valid, slots, 0))
        found = jax.vmap(occluders.overlapping)(truth.inmodal_crops, truth.boxes, truth.valid)
        if rule == "orders":
            known = (truth.cluster >= 0) & (truth.order >= 0)
            clusters = truth.cluster[:, :, None] == truth.cluster[:, None, :]
            nearer = clusters & (truth.order[:, None, :] < truth.order[:, :, None]) & (known & truth.valid)[:, None, :]
            true = jax.vmap(occluders.hiding, in_axes=(0, 0, 0, 0, None))(
                truth.amodal_crops, truth.inmodal_crops, truth.boxes, nearer, count
            )
            found = jnp.where(known[:, :, None], true, found)
        targets = jax.vmap(
            lambda crops, boxes, chosen, *regions: occluders.occluder_targets(
                crops, boxes, chosen, count, *regions, size=size
            )
        )(truth.inmodal_crops, truth.boxes, found, self.boxes, self.truth_index)
        return targets.reshape(-1, size, size)
