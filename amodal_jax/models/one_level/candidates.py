"""From the regions of two rounds to detections: non-maximum suppression, then a vote on the masks.

Shape shorthand in this module: B images, N candidates, K foreground classes, D detections, S mask cells a side.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from amodal_jax.models.blocks import over_valid_blocks
from amodal_jax.models.preprocess import to_source
from amodal_jax.models.selection import EvaluationConfig, keep_best
from amodal_jax.ops.mask_voting import vote
from amodal_jax.structures import Array as Leaf
from amodal_jax.structures import Detections, NetworkInput

MINIMUM_SIDE = 2.0
"""Pixels of the network's input; thinner candidates are dropped (FCIS, `tester.py`)."""


@struct.dataclass
class Candidates:
    """Regions with the class scores and masks that the network gives them."""

    boxes: Leaf
    """float32 [B, N, 4], pixels of the network's input."""
    scores: Leaf
    """float32 [B, N, K], the probability of each foreground class."""
    masks: dict[str, Leaf]
    """By kind float32 [B, N, S, S], probability in the frame of the box; amodal ones make the detections' boxes."""
    valid: Leaf
    """bool [B, N]."""

    @staticmethod
    def joined(rounds: Sequence["Candidates"]) -> "Candidates":
        """The candidates of all rounds together."""
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *rounds)

    def detections(self, inputs: NetworkInput, evaluation: EvaluationConfig) -> Detections:
        """The detections of each image (FCIS section 3.2; MNC section 4).

        Class by class non-maximum suppression keeps boxes. All candidates that overlap a kept one vote on its mask,
        and its box becomes the mask's (`ops.mask_voting`); its score stays.

        Args:
          inputs: what the network saw.
          evaluation: how many detections there are, and the mask's threshold, which every vote's mask has too.
        """
        sides = self.boxes[..., 2:] - self.boxes[..., :2]
        valid = self.valid & (sides >= MINIMUM_SIDE).all(-1)
        selected = jax.vmap(
            lambda boxes, scores, image_valid: keep_best(scores.T, boxes, image_valid, settings=evaluation)
        )(self.boxes, self.scores, valid)
        kinds = sorted(self.masks)  # amodal masks first, where there are any
        masks = jnp.stack([self.masks[kind] for kind in kinds], axis=1)

        def block(frames: Float[Array, "B n 4"], labels: Int[Array, "B n"]):
            return jax.vmap(lambda *image: vote(*image, threshold=evaluation.mask_threshold))(
                frames, labels, self.boxes, self.scores, valid, masks
            )

        boxes, voted = over_valid_blocks(block, selected)
        by_kind = {kind: voted[:, :, place] for place, kind in enumerate(kinds)}
        selected = dataclasses.replace(selected, boxes=boxes)
        return Detections(
            boxes=to_source(selected.boxes, inputs),
            scores=selected.scores,
            labels=selected.labels,
            valid=selected.valid,
            occluded=None,
            amodal_masks=by_kind.get("amodal"),
            inmodal_masks=by_kind.get("inmodal"),
        )
