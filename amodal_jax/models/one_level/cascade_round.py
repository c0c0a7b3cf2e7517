"""A round of a multi-task network cascade: regions to masks, and through them to classes and better regions.

MNC goes through it twice with the same weights: as its stages 2 and 3, and on the regions that these make as 4 and 5.

Shape shorthand in this module: B images, N regions, h x w cells at stride 16, C channels, S cells a side of a region's
features, M mask cells a side. Boxes are in pixels of the network's input.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from amodal_jax import losses as loss
from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.cascade import (
    MASK_SIZE,
    DenseStream,
    Reduction,
    RegionClasses,
    RegionMask,
    RegionPredictor,
    gate,
)
from amodal_jax.models.mask_targets import MaskKind, MaskTargets
from amodal_jax.models.one_level.candidates import Candidates
from amodal_jax.models.one_level.trunk import STRIDE
from amodal_jax.models.roi_pooling import RoIConfig
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.masks import mask_iou
from amodal_jax.ops.roi_warping import max_warping
from amodal_jax.structures import GroundTruth, Proposals, RoISamples

MASK_IOU = 0.5
"""IoU with the object's mask from which on a region's mask is of the object's class (MNC, `mask_layer.py`)."""


@dataclasses.dataclass(frozen=True)
class CascadeSettings:
    """The sizes and weights of a round."""

    channels: int
    """Of the features that regions are cut out of."""
    hidden: int
    """Of the dense layers of both streams."""
    mask_hidden: int
    """Of the dense layer of each mask."""
    mask_weight: float
    """Of each kind of masks in the loss."""
    mask_threshold: float
    """Probability, and share of a cell, from which on a mask covers it in training."""


class CascadeRound(nn.Module):
    """The layers of a round, which both rounds share."""

    settings: CascadeSettings
    """Its settings."""
    roi: RoIConfig
    """The size of a region's features, and the box coder."""
    classes: int
    """Foreground classes and the background."""
    kinds: tuple[MaskKind, ...]
    """Of masks; the first, the amodal one, gates."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        settings = self.settings
        self.reduction = Reduction(settings.channels, self.dtype)
        self.amodal_mask_head = RegionMask(settings.mask_hidden, self.dtype)
        self.inmodal_mask_head = RegionMask(settings.mask_hidden, self.dtype) if "inmodal" in self.kinds else None
        self.box_stream = DenseStream(settings.hidden, self.dtype)
        self.mask_stream = DenseStream(settings.hidden, self.dtype)
        self.region_predictor = RegionPredictor(self.classes)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        features = ("backbone", "reduction")
        class_layers = (("cls_score", 1), ("seg_cls_score", 1), ("bbox_pred", 4))
        others = {"amodal": "inmodal", "inmodal": "amodal"}
        masks = (Branch(f"{kind}_mask_head", features, stand_in=f"{others[kind]}_mask_head") for kind in self.kinds)
        return (
            Branch("reduction", ("backbone",)),
            *masks,
            Branch("box_stream", features),
            Branch("mask_stream", (*features, "amodal_mask_head")),
            Branch("region_predictor", (*features, "box_stream", "mask_stream"), class_layers=class_layers),
        )

    # ----- the layers

    def features(self, c5: Float[Array, "B h w _"]) -> Float[Array, "B h w C"]:
        """What regions are cut out of, by both rounds."""
        return self.reduction(c5)

    def cut(self, features: Float[Array, "B h w C"], boxes: Float[Array, "B N 4"]) -> Float[Array, "BN S S C"]:
        """The features of regions; the gradient reaches the boxes."""
        warp = functools.partial(max_warping, output_size=self.roi.mask_size, spatial_scale=1 / STRIDE)
        warped = jax.vmap(lambda of_image, image_boxes: warp(of_image, image_boxes))(features, boxes)
        return warped.reshape(-1, *warped.shape[2:])

    def masks(self, regions: Float[Array, "BN S S C"]) -> dict[MaskKind, Float[Array, "BN M M"]]:
        """Stage 2, or 4: the logits of regions' masks by kind."""
        found: dict[MaskKind, Array] = {"amodal": self.amodal_mask_head(regions)}
        if self.inmodal_mask_head is not None:
            found["inmodal"] = self.inmodal_mask_head(regions)
        return found

    def classify(self, regions: Float[Array, "BN S S C"], masks: Float[Array, "BN M M"]) -> RegionClasses:
        """Stage 3, or 5: the classes of regions with masks of these probabilities, and deltas."""
        streams = self.mask_stream(gate(regions, masks)), self.box_stream(regions)
        return self.region_predictor(jnp.concatenate(streams, axis=-1))

    def next_boxes(
        self, boxes: Float[Array, "B N 4"], found: RegionClasses, sizes: Int[Array, "B 2"]
    ) -> Float[Array, "B N 4"]:
        """The regions with the deltas of the class, other than the background, that their masks are likeliest of.

        MNC's own code takes the background's deltas at test, though not in training, where that is likeliest of all;
        they are trained by nothing.

        Args:
          boxes: that were classified.
          found: their classes.
          sizes: (height, width) of the images, within which the boxes stay.
        """
        best = jnp.argmax(found.mask_scores[:, 1:], axis=1) + 1
        deltas = jnp.take_along_axis(found.deltas, best[:, None, None], axis=1).reshape(boxes.shape)
        decoded = box_ops.decode(deltas, boxes, weights=self.roi.box_weights)
        return jax.vmap(lambda of_image, size: box_ops.clip(of_image, size[0], size[1]))(decoded, sizes)

    # ----- training

    def losses(
        self, features: Float[Array, "B h w C"], samples: RoISamples, truth: GroundTruth
    ) -> tuple[dict[str, Mean], RegionClasses]:
        """The terms of a round's regions, and their classes.

        A region's class by its mask is its object's where the mask has an IoU of MASK_IOU with the object's, whole as
        it is, and else background. The gradient of the classes reaches no other masks than those (`mask_layer.py`).
        """
        regions = self.cut(features, samples.boxes)
        samples = dataclasses.replace(samples, boxes=jax.lax.stop_gradient(samples.boxes))
        valid, positive = samples.valid.reshape(-1), (samples.positive & samples.valid).reshape(-1)
        targets = MaskTargets.of(samples, truth, samples.valid.shape[1])
        labels = jnp.where(positive, targets.labels, 0)
        logits = self.masks(regions)
        masks = jax.nn.sigmoid(logits["amodal"])
        mask_labels = jnp.where(self._agree(masks, samples, truth), labels, 0)
        of_objects = (mask_labels > 0)[:, None, None]
        found = self.classify(regions, jnp.where(of_objects, masks, jax.lax.stop_gradient(masks)))

        deltas = jnp.take_along_axis(found.deltas, labels[:, None, None], axis=1)[:, 0]
        reference = jnp.take_along_axis(truth.boxes, samples.truth_index[..., None], axis=1)
        wanted = box_ops.encode(reference, samples.boxes, weights=self.roi.box_weights).reshape(-1, 4)
        terms = {
            "classification": loss.classification(found.scores, labels, valid),
            "mask_classification": loss.classification(found.mask_scores, mask_labels, valid),
            "box": loss.box_regression(deltas, wanted, positive, valid, beta=1.0),
        }
        for kind, of_kind in logits.items():
            mask_targets = targets.masks(kind, MASK_SIZE, self.settings.mask_threshold)
            terms[f"{kind}_mask"] = loss.scaled(loss.mask(of_kind, mask_targets, positive), self.settings.mask_weight)
        return terms, found

    def _agree(self, masks: Float[Array, "BN M M"], samples: RoISamples, truth: GroundTruth) -> Bool[Array, " BN"]:
        """Whether regions' masks agree with the amodal masks of the objects that the regions overlap most."""
        of_images = (masks >= self.settings.mask_threshold).reshape(*samples.valid.shape, MASK_SIZE, MASK_SIZE)
        iou = jax.vmap(mask_iou)(of_images, samples.boxes, truth.amodal_crops, truth.boxes, samples.truth_index)
        return iou.reshape(-1) >= MASK_IOU

    # ----- inference

    def read(self, features: Float[Array, "B h w C"], proposals: Proposals) -> tuple[Candidates, RegionClasses]:
        """The regions with masks and the classes by these, and all that was said of them."""
        regions = self.cut(features, proposals.boxes)
        masks = {kind: jax.nn.sigmoid(logits) for kind, logits in self.masks(regions).items()}
        found = self.classify(regions, masks["amodal"])

        def of_images(values: Float[Array, "BN *_"]) -> Float[Array, "B N *_"]:
            return values.reshape(*proposals.valid.shape, *values.shape[1:])

        scores = of_images(jax.nn.softmax(found.mask_scores)[:, 1:])
        return Candidates(proposals.boxes, scores, jax.tree.map(of_images, masks), proposals.valid), found
