"""MNC: a cascade from boxes to masks to classes, gone through twice (Dai et al., 2016).

After `daijifeng001/MNC`, on a ResNet in place of a VGG network, with an RPN's anchors and a schedule as in this paper's
other networks, and with inmodal masks beside the amodal ones, which gate.

Shape shorthand in this module: B images, N regions.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, UInt8

from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.cascade import RegionClasses
from amodal_jax.models.mask_targets import MaskKind
from amodal_jax.models.networks import NetworkConfig
from amodal_jax.models.one_level.candidates import Candidates
from amodal_jax.models.one_level.cascade_round import CascadeRound, CascadeSettings
from amodal_jax.models.one_level.graded_regions import draw_regions
from amodal_jax.models.one_level.regions import label_regions
from amodal_jax.models.one_level.trunk import Trunk
from amodal_jax.models.preprocess import Preprocess
from amodal_jax.models.roi_pooling import RoIConfig
from amodal_jax.models.selection import EvaluationConfig
from amodal_jax.structures import Batch, Detections

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class MNCConfig(NetworkConfig):
    """MNC, which has no branches of convolutions on regions.

    Of `model.roi` it reads `batch_size`, `positive_fraction` and `iou_threshold` of the first round's regions,
    `mask_size`, the cells of a region's features, and `box_weights`; of `model.heads` which masks there are.
    """

    rpn_channels: int = 512
    """Channels of the RPN's hidden convolutions."""
    channels: int = 256
    """Channels of the features that regions are cut out of."""
    hidden: int = 1024
    """Channels of the dense layers that classes come from."""
    mask_hidden: int = 256
    """Channels of the dense layer that a mask comes from."""
    mask_weight: float = 2.0
    """Weight of each kind of masks in the loss."""
    mask_target_threshold: float = 0.4
    """Share of a cell from which on the object covers it in training, and probability from which on its mask does."""
    box_gradient_limit: float = 0.0
    """The largest gradient that a box delta of the first round gets from what the second one makes of its region; 0: no
    gradient passes the regions."""

    def check(self, model: "ModelConfig") -> None:
        """Refuses sizes that are no sizes, and a network without the mask that gates.

        Raises:
          ConfigError: names the field.
        """
        for name in ("rpn_channels", "channels", "hidden", "mask_hidden", "mask_weight"):
            require(getattr(self, name) > 0, f"model.network.{name}", "must be positive")
        threshold = self.mask_target_threshold
        require(0 < threshold <= 1, "model.network.mask_target_threshold", "must be within (0, 1]")
        require(self.box_gradient_limit >= 0, "model.network.box_gradient_limit", "must not be negative")
        require(model.roi.mask_size % 2 == 0, "model.roi.mask_size", "must be even: MNC's streams see half of it")
        require(model.heads.amodal_mask, "model.heads.amodal_mask", "must be true: MNC's classes come through it")
        require(not model.occlusion.enabled, "model.occlusion.enabled", "must be false: MNC has no such branch")
        require(not model.mlc.enabled, "model.mlc.enabled", "must be false: MNC has no branches to guide")

    def build(self, model: "ModelConfig", evaluation: EvaluationConfig) -> "MNC":
        """The network."""
        settings = CascadeSettings(
            channels=self.channels,
            hidden=self.hidden,
            mask_hidden=self.mask_hidden,
            mask_weight=self.mask_weight,
            mask_threshold=self.mask_target_threshold,
        )
        kinds: tuple[MaskKind, ...] = ("amodal", "inmodal") if model.heads.inmodal_mask else ("amodal",)
        return MNC(
            preprocess=Preprocess(model.input),
            trunk=Trunk.of(model, self.rpn_channels),
            stages=CascadeRound(settings, model.roi, model.classes, kinds, model.dtype),
            roi=model.roi,
            evaluation=evaluation,
            box_gradient_limit=self.box_gradient_limit,
        )


class MNC(nn.Module):
    """The network: a trunk, which is stage 1, and a round of two stages for the proposals and once more behind them."""

    preprocess: Preprocess
    """Images to the network's input."""
    trunk: Trunk
    """Pixels to features and proposals."""
    stages: CascadeRound
    """Features and regions to masks, classes and better regions: stages 2 and 3, and 4 and 5."""
    roi: RoIConfig
    """How regions are drawn."""
    evaluation: EvaluationConfig
    """Which candidates become detections."""
    box_gradient_limit: float
    """See `MNCConfig`."""

    def setup(self):
        # The parts' modules are named in the network as if they were its own.
        nn.share_scope(self, self.trunk)
        nn.share_scope(self, self.stages)

    # ----- what others ask of a network

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """The kinds of masks that it predicts, of "amodal" and "inmodal"."""
        return self.stages.kinds

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the paths of the parameters begin that are not trained."""
        return self.trunk.frozen

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers, each behind those that its inputs come through."""
        return (*self.trunk.branches, *self.stages.branches)

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        masks = ", ".join(f"{kind} mask" for kind in self.mask_kinds)
        return f"{self.trunk.backbone.summary}; MNC of five stages, {masks}"

    # ----- training

    def losses(self, batch: Batch, keys: Key[Array, " B"]) -> dict[str, Mean]:
        """The loss terms of a batch; `keys` [B], one for what is drawn of each image.

        The second round sees all regions that the first one makes, and the ground-truth boxes (MNC,
        `stage_bridge_layer.py`); its terms are called as the first one's, with "second_" before.
        """
        inputs = self.preprocess(batch.images, batch.sizes, batch.truth)
        c5, scores = self.trunk(inputs)
        rpn = self.trunk.rpn
        anchor_keys, region_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        anchors = rpn.sample(scores, inputs.truth, batch.valid, anchor_keys)
        proposals = rpn.propose(scores, inputs.sizes, train=True)
        features = self.stages.features(c5)
        samples = draw_regions(self.roi, proposals, inputs.truth, batch.valid, region_keys)
        terms, found = self.stages.losses(features, samples, inputs.truth)

        boxes = self.bridge(samples.boxes, found, inputs.sizes)
        labelled = label_regions(boxes, samples.valid, inputs.truth, batch.valid, iou_threshold=self.roi.iou_threshold)
        labelled = dataclasses.replace(labelled, boxes=jnp.concatenate([boxes, inputs.truth.boxes], axis=1))
        second, _ = self.stages.losses(features, labelled, inputs.truth)
        return (
            rpn.losses(scores, anchors, inputs.truth)
            | terms
            | {f"second_{name}": term for name, term in second.items()}
        )

    def bridge(
        self, boxes: Float[Array, "B N 4"], found: RegionClasses, sizes: Int[Array, "B 2"]
    ) -> Float[Array, "B N 4"]:
        """The second round's regions, with as much of a gradient to the first one's deltas as there is to be."""
        deltas = found.deltas
        limit = self.box_gradient_limit
        limited = limit_gradient(deltas, limit) if limit else jax.lax.stop_gradient(deltas)
        return self.stages.next_boxes(boxes, dataclasses.replace(found, deltas=limited), sizes)

    # ----- inference

    def detect(self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"]) -> Detections:
        """The objects of each image; boxes in its own pixels.

        Candidates are the proposals with what the first round says of them, and the regions that it makes with what the
        second round says (MNC, `TesterWrapper.py`).
        """
        inputs = self.preprocess(images, sizes)
        c5, scores = self.trunk(inputs)
        proposals = self.trunk.rpn.propose(scores, inputs.sizes, train=False)
        features = self.stages.features(c5)
        first, found = self.stages.read(features, proposals)
        boxes = self.stages.next_boxes(proposals.boxes, found, inputs.sizes)
        second, _ = self.stages.read(features, dataclasses.replace(proposals, boxes=boxes))
        return Candidates.joined([first, second]).detections(inputs, self.evaluation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def limit_gradient(values: Float[Array, "*b"], limit: float) -> Float[Array, "*b"]:
    """The values as they are, whose gradient is cut to [-limit, limit], element by element."""
    return values


def _keep(values: Array, limit: float) -> tuple[Array, None]:
    return values, None


def _cut(limit: float, _: None, gradient: Array) -> tuple[Array]:
    return (jnp.clip(gradient, -limit, limit),)


limit_gradient.defvjp(_keep, _cut)
