"""Regions to classes, boxes and occlusion: the box and the occlusion branch (paper sections 4.1 and 4.3).

Shape shorthand in this module: B images, N proposals, G ground-truth slots, S sampled regions, P the positive ones'
slots, D detections, K1 classes with the background at 0, C channels, s cells a side. Boxes are in pixels of the
network's input.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from amodal_jax import losses as loss
from amodal_jax.losses import Mean
from amodal_jax.models import mirror
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.box import BoxPredictor, TwoDenseBranch
from amodal_jax.models.heads.convolutions import ConvolutionBranch, HeadConfig
from amodal_jax.models.heads.occlusion import OcclusionConfig, OcclusionPredictor
from amodal_jax.models.roi_pooling import RegionFeatures, RoIConfig
from amodal_jax.models.selection import EvaluationConfig, select_detections
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.matching import match
from amodal_jax.ops.sampling import sample_balanced
from amodal_jax.structures import GroundTruth, Proposals, RoISamples, SelectedBoxes

Guidance = tuple[Float[Array, "_ _ _ _"], ...]
"""Box and occlusion features of regions, for the mask stage; empty where it takes none."""


class BoxStage(nn.Module):
    """The box branch and, where there is one, the occlusion branch."""

    roi: RoIConfig
    """How regions are sampled, and the box coder."""
    heads: HeadConfig
    """The branches' settings."""
    occlusion: OcclusionConfig
    """The occlusion branch's settings."""
    evaluation: EvaluationConfig
    """Which boxes become detections."""
    classes: int
    """Foreground classes and the background."""
    guidance_layer: int | None = None
    """The convolution whose features guide the masks; None: none do."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        branch = functools.partial(ConvolutionBranch, self.heads, dtype=self.dtype)
        self.box_head = branch() if self.heads.box == "conv4_fc1" else TwoDenseBranch(self.heads, dtype=self.dtype)
        self.box_predictor = BoxPredictor(self.classes)
        self.occlusion_head = branch() if self.occlusion.enabled else None
        self.occlusion_predictor = OcclusionPredictor() if self.occlusion.enabled else None

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        dense = ("fc", "fc6", "fc7")
        class_layers = (("cls_score", 1), ("bbox_pred", 4))
        box = (
            Branch("box_head", inputs=("fpn",), late=dense),
            Branch("box_predictor", inputs=("fpn", "box_head"), class_layers=class_layers),
        )
        if not self.occlusion.enabled:
            return box
        return (
            *box,
            Branch("occlusion_head", ("fpn",), late=dense, stand_in="box_head", stand_in_layers="convolutions/"),
            Branch("occlusion_predictor", inputs=("fpn", "occlusion_head")),
        )

    # ----- training

    def sample(
        self, proposals: Proposals, truth: GroundTruth, image_valid: Bool[Array, " B"], keys: Key[Array, " B"]
    ) -> RoISamples:
        """The regions that a step trains on; none of images that are not valid."""
        samples = jax.vmap(
            lambda key, *image: sample_rois(
                key,
                *image,
                iou_threshold=self.roi.iou_threshold,
                batch_size=self.roi.batch_size,
                positive_fraction=self.roi.positive_fraction,
            )
        )(keys, proposals, truth.boxes, truth.valid, truth.crowd)
        return dataclasses.replace(samples, valid=samples.valid & image_valid[:, None])

    def losses(
        self, features: RegionFeatures, samples: RoISamples, truth: GroundTruth
    ) -> tuple[dict[str, Mean], Guidance]:
        """The loss terms of sampled regions, and the guidance of the first P of each image, the positive ones."""

        def matched(values):  # ground-truth values [B, G, ...] of the regions, flattened
            index = samples.truth_index.reshape(samples.truth_index.shape + (1,) * (values.ndim - 2))
            return jnp.take_along_axis(values, index, axis=1).reshape(-1, *values.shape[2:])

        positive = (samples.positive & samples.valid).reshape(-1)
        valid = samples.valid.reshape(-1)
        labels = jnp.where(positive, matched(truth.labels) + 1, 0)
        hidden, layers = self.box_head(features)
        logits, deltas = self.box_predictor(hidden)
        class_deltas = jnp.take_along_axis(deltas, labels[:, None, None], axis=1)[:, 0]
        targets = box_ops.encode(matched(truth.boxes), samples.boxes.reshape(-1, 4), weights=self.roi.box_weights)
        terms = {
            "classification": loss.classification(logits, labels, valid),
            "box": loss.box_regression(class_deltas, targets, positive, valid),
        }
        guidance = [layers]
        if self.occlusion.enabled:
            occlusion_hidden, occlusion_layers = self.occlusion_head(features)
            guidance.append(occlusion_layers)
            terms["occlusion"] = loss.occlusion(
                self.occlusion_predictor(occlusion_hidden),
                positive & (matched(truth.occlusion_ratio) > self.occlusion.threshold),
                valid,
                positive_weight=self.occlusion.positive_weight,
            )
        if self.guidance_layer is None:
            return terms, ()
        return terms, tuple(
            self._first(branch_layers[self.guidance_layer], samples.valid.shape) for branch_layers in guidance
        )

    def _first(self, features: Float[Array, "BS s s C"], slots: tuple[int, ...]) -> Float[Array, "BP s s C"]:
        """Those of the first P regions of each image."""
        of_images = features.reshape(*slots, *features.shape[1:])[:, : self.roi.positive_slots]
        return of_images.reshape(-1, *features.shape[1:])

    # ----- inference

    def select(self, features: RegionFeatures, proposals: Proposals, sizes: Int[Array, "B 2"]) -> SelectedBoxes:
        """The detections among the proposals of images that fill `sizes` (height, width) of the input canvas.

        With `evaluation.flip` the B images are views, and the detections are of the half as many images that they show.
        """
        hidden, _ = self.box_head(features)
        return self.choose(*self.box_predictor(hidden), proposals, sizes)

    def choose(
        self,
        logits: Float[Array, "BN K1"],
        deltas: Float[Array, "BN K1 4"],
        proposals: Proposals,
        sizes: Int[Array, "B 2"],
    ) -> SelectedBoxes:
        """`select` from the box branch's outputs."""
        slots = proposals.valid.shape
        logits, deltas = logits.reshape(*slots, -1), deltas.reshape(*slots, -1, 4)
        if self.evaluation.flip:
            logits, deltas, proposals, sizes = mirror.unite(logits, deltas, proposals, sizes)
        return jax.vmap(
            lambda image_logits, image_deltas, image_proposals, size: select_detections(
                image_logits,
                image_deltas,
                image_proposals,
                size[0],
                size[1],
                box_weights=self.roi.box_weights,
                settings=self.evaluation,
            )
        )(logits, deltas, proposals, sizes)

    def revisit(self, features: RegionFeatures) -> tuple[Float[Array, " BD"] | None, Guidance]:
        """The probabilities that final boxes are of occluded objects, and their guidance (paper section 4.3)."""
        if not self.occlusion.enabled:
            return None, ()
        hidden, layers = self.occlusion_head(features)
        occluded = jax.nn.softmax(self.occlusion_predictor(hidden))[:, 1]
        if self.guidance_layer is None:
            return occluded, ()
        box_layers: Any = self.box_head.convolve(features, self.guidance_layer)
        return occluded, (box_layers[self.guidance_layer], layers[self.guidance_layer])


def sample_rois(
    key: PRNGKeyArray,
    proposals: Proposals,
    truth_boxes: Float[Array, "G 4"],
    truth_valid: Bool[Array, " G"],
    truth_crowd: Bool[Array, " G"],
    *,
    iou_threshold: float,
    batch_size: int,
    positive_fraction: float,
) -> RoISamples:
    """Samples one image's proposals, the ground-truth boxes among them (torchvision's RoI heads; paper section 4.1)."""
    boxes = jax.lax.stop_gradient(jnp.concatenate([proposals.boxes, truth_boxes]))
    valid = jnp.concatenate([proposals.valid, truth_valid])
    matches = match(
        boxes,
        truth_boxes,
        truth_valid,
        truth_crowd,
        foreground_iou=iou_threshold,
        background_iou=iou_threshold,
        allow_low_quality=False,
    )
    samples = sample_balanced(
        key,
        matches.positive & valid,
        matches.negative & valid,
        size=batch_size,
        positive_fraction=positive_fraction,
    )
    return RoISamples(boxes[samples.indices], matches.truth_index[samples.indices], samples.positive, samples.valid)
