"""The detector of two stages: image to losses, image to detections (paper section 4, Figure 6).

Shape shorthand in this module: B images, H x W canvas of native pixels, D detections, n detections of a block.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, UInt8

from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models import mirror
from amodal_jax.models.backbones.resnet import ResNet
from amodal_jax.models.blocks import as_function, over_valid_blocks
from amodal_jax.models.box_stage import BoxStage
from amodal_jax.models.branch import Branch
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.models.necks import LEVEL_STRIDES
from amodal_jax.models.networks import NetworkConfig
from amodal_jax.models.preprocess import Preprocess, to_source
from amodal_jax.models.roi_pooling import RoIPooling
from amodal_jax.models.rpn import RegionProposalNetwork
from amodal_jax.models.selection import EvaluationConfig
from amodal_jax.structures import (
    AnchorSamples,
    AnchorScores,
    Batch,
    Detections,
    GroundTruth,
    NetworkInput,
    RoISamples,
    SelectedBoxes,
)

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig

Levels = tuple[Float[Array, "B _ _ C"], ...]


@dataclasses.dataclass(frozen=True)
class DetectorConfig(NetworkConfig):
    """Mask R-CNN and what is made of it; its parts have sections of their own."""

    mirrors: ClassVar[bool] = True

    def check(self, model: "ModelConfig") -> None:
        """Refuses anchors that do not fit the levels.

        Raises:
          ConfigError: names the field.
        """
        levels = len(LEVEL_STRIDES)
        require(
            len(model.anchors.sizes) == levels, "model.anchors.sizes", "must have five values, one for each of P2..P6"
        )

    def build(self, model: "ModelConfig", evaluation: EvaluationConfig) -> "Detector":
        """The network."""
        masks = model.mask.build(model)
        return Detector(
            preprocess=Preprocess(model.input),
            backbone=ResNet(model.backbone, dtype=model.dtype),
            fpn=model.neck.build(model),
            rpn=RegionProposalNetwork(model.rpn, model.anchors, LEVEL_STRIDES, model.fpn_channels, dtype=model.dtype),
            pooling=RoIPooling(model.roi, LEVEL_STRIDES[:4]),
            boxes=BoxStage(
                model.roi,
                model.heads,
                model.occlusion,
                evaluation,
                model.classes,
                guidance_layer=masks.guidance_layer,
                dtype=model.dtype,
            ),
            masks=masks,
        )


class Detector(nn.Module):
    """Mask R-CNN of parts that are read and swapped alone; Multi-Level Coding makes it the paper's ASN."""

    preprocess: Preprocess
    """Images to the network's input."""
    backbone: ResNet
    """Pixels to C2..C5."""
    fpn: Any
    """C2..C5 to P2..P6: the neck, whose layers have this name in the network whatever its kind."""
    rpn: RegionProposalNetwork
    """P2..P6 to proposals."""
    pooling: RoIPooling
    """P2..P5 and boxes to their features."""
    boxes: BoxStage
    """Proposals to classes, boxes and occlusion."""
    masks: Any
    """Boxes to masks: a `MaskStage`."""

    def setup(self):
        # The parts' modules are named in the network as if they were its own: parameters keep their paths.
        for part in (self.rpn, self.boxes, self.masks):
            nn.share_scope(self, part)

    # ----- what others ask of a network

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """The kinds of masks that it predicts, of "amodal" and "inmodal"."""
        return self.masks.mask_kinds

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the paths of the parameters begin that are not trained."""
        return tuple(f"backbone/{name}" for name in self.backbone.frozen)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers, each behind those that its inputs come through."""
        return (Branch("backbone"), *self.fpn.branches, *self.rpn.branches, *self.boxes.branches, *self.masks.branches)

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        occlusion = self.boxes.occlusion
        occluded = (f"occlusion over {occlusion.threshold:.0%}",) if occlusion.enabled else ()
        parts = ", ".join((*self.masks.summary, *occluded)) or "boxes only"
        return f"{self.backbone.summary}, {self.fpn.summary}; {parts}"

    # ----- training

    def losses(self, batch: Batch, keys: Key[Array, " B"]) -> dict[str, Mean]:
        """The loss terms of a batch; `keys` [B], one for what is drawn of each image."""
        inputs = self.preprocess(batch.images, batch.sizes, batch.truth)
        levels, scores = self.features(inputs)
        proposals = self.rpn.propose(scores, inputs.sizes, train=True)
        anchor_keys, roi_keys, mask_keys = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
        anchors = self.rpn.sample(scores, inputs.truth, batch.valid, anchor_keys)
        rois = self.boxes.sample(proposals, inputs.truth, batch.valid, roi_keys)
        return self.loss_terms(levels, scores, anchors, rois, inputs.truth, mask_keys)

    def features(self, inputs: NetworkInput) -> tuple[Levels, AnchorScores]:
        """The levels P2..P6 of the network's input, and what the RPN says of their anchors."""
        levels = self.fpn(self.backbone(inputs.pixels))
        canvas = (inputs.pixels.shape[1], inputs.pixels.shape[2])
        return levels, self.rpn(levels, canvas)

    def loss_terms(
        self,
        levels: Levels,
        scores: AnchorScores,
        anchors: AnchorSamples,
        rois: RoISamples,
        truth: GroundTruth,
        keys: Key[Array, " B"],
    ) -> dict[str, Mean]:
        """The loss terms for given samples: two of the RPN, and equation 2's. Boxes are in pixels of the input."""
        roi = self.pooling.config
        targets = MaskTargets.of(rois, truth, roi.positive_slots)
        regions = ((rois.boxes, roi.box_size), (targets.boxes, roi.mask_size))
        box_features, mask_features = self.pooling.together(levels, regions)
        box_terms, guidance = self.boxes.losses(box_features, rois, truth)
        mask_terms = self.masks.losses(mask_features, targets, guidance, keys)
        return self.rpn.losses(scores, anchors, truth) | box_terms | mask_terms

    # ----- inference

    def detect(self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"]) -> Detections:
        """The objects of each image; boxes in its own pixels.

        The paper's inference (section 4.3): scores and boxes come from the proposals; what NMS leaves goes through the
        box and occlusion branches again, for the features that guide the masks and for the occlusion decision. With
        `evaluation.flip` the mirror images are looked at as well (`models.mirror`).
        """
        inputs, flip = self.preprocess(images, sizes), self.boxes.evaluation.flip
        views = mirror.with_mirror_images(inputs) if flip else inputs
        levels, scores = self.features(views)
        proposals = self.rpn.propose(scores, views.sizes, train=False)
        features = self.pooling(levels, proposals.boxes, self.pooling.config.box_size)
        selected = self.boxes.select(features, proposals, views.sizes)
        boxes_in_views = mirror.in_both_views(selected, views.sizes) if flip else selected
        occluded, masks = self.second_pass(levels, boxes_in_views)
        if flip:
            occluded, masks = mirror.average(occluded, masks)
        return Detections(
            boxes=to_source(selected.boxes, inputs),
            scores=selected.scores,
            labels=selected.labels,
            valid=selected.valid,
            occluded=occluded,
            amodal_masks=masks.get("amodal"),
            inmodal_masks=masks.get("inmodal"),
        )

    def second_pass(self, levels: Levels, selected: SelectedBoxes) -> tuple[Array | None, dict[str, Array]]:
        """Occlusion probabilities [B, D], and masks [B, D, M, M] by kind, of the final boxes."""
        boxes, masks, roi = as_function(self.boxes), as_function(self.masks), self.pooling.config

        def block(block_boxes: Float[Array, "B n 4"], labels: Int[Array, "B n"]):
            occluded, guidance = boxes(self.pooling(levels, block_boxes, roi.box_size), method="revisit")
            features = self.pooling(levels, block_boxes, roi.mask_size)
            found = masks(features, labels.reshape(-1), guidance, method="masks")
            return jax.tree.map(lambda x: x.reshape(*labels.shape, *x.shape[1:]), (occluded, found))

        return over_valid_blocks(block, selected)
