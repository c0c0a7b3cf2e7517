"""Region proposal network (Ren et al., 2015), with torchvision's structure and semantics.

Shape shorthand in this module: B images, L levels, A anchors of a level, N proposals, G ground-truth slots, S samples,
C channels. Each level has as many anchors as cells times sizes times aspect ratios. Boxes are in pixels of the
network's input.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from amodal_jax import losses as loss
from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.models.layers import Conv, OutputConv, normal_001, output_convolutions, relu
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.anchors import pyramid_anchors
from amodal_jax.ops.matching import match
from amodal_jax.ops.nms import nms
from amodal_jax.ops.sampling import sample_balanced
from amodal_jax.ops.top_k import top_k
from amodal_jax.structures import AnchorSamples, AnchorScores, GroundTruth, Proposals

MINIMUM_SIDE = 1e-3  # pixels; torchvision drops thinner proposals
BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the proposals' box coder


@dataclasses.dataclass(frozen=True)
class AnchorConfig:
    """The boxes that proposals start from, in pixels of the network's input."""

    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Side of the square anchor; of a pyramid's detector one for each of P2..P6, of one on
    a single level all of them in each of its cells."""
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Heights over widths of the anchors of a cell."""
    rounded: bool = True
    """Whether the sides of anchors are whole pixels, as torchvision's are, and detectron2's not."""
    fitted_strides: bool = True
    """Whether anchors lie as far apart as the input is longer than their level, as torchvision's do, and not at the
    level's stride, as detectron2's: a canvas of 416 pixels has its P6, of 7 cells, at 59 or at 64 pixels a cell."""

    expected_by_weights: ClassVar[tuple[str, ...]] = ("sizes", "aspect_ratios", "rounded", "fitted_strides")

    def __post_init__(self):
        require(len(self.sizes) > 0, "model.anchors.sizes", "must not be empty")
        require(len(self.aspect_ratios) > 0, "model.anchors.aspect_ratios", "must not be empty")
        require(min(self.sizes + self.aspect_ratios) > 0, "model.anchors", "must be positive")


@dataclasses.dataclass(frozen=True)
class RPNConfig:
    """Region proposals on amodal boxes."""

    convolutions: int = 1
    """3x3 convolutions before the outputs."""
    foreground_iou: float = 0.7
    """Anchors from this IoU with an object on are positive."""
    background_iou: float = 0.3
    """Anchors under this IoU with every object are negative."""
    batch_size: int = 256
    """Sampled anchors of an image."""
    positive_fraction: float = 0.5
    """The largest share of positive ones among the sampled anchors."""
    nms_threshold: float = 0.7
    """IoU over which proposals of a level suppress each other."""
    pre_nms_train: int = 2000
    """Proposals of each level before NMS in training."""
    post_nms_train: int = 2000
    """Proposals of all levels together after NMS in training."""
    pre_nms_test: int = 1000
    """Proposals of each level before NMS in testing, as many as the official code has."""
    post_nms_test: int = 1000
    """Proposals of all levels together after NMS in testing."""

    expected_by_weights: ClassVar[tuple[str, ...]] = ("convolutions",)

    def __post_init__(self):
        require(0 <= self.background_iou <= self.foreground_iou <= 1, "model.rpn", "IoU limits must be ordered")
        counts = ("convolutions", "batch_size", "pre_nms_train", "post_nms_train", "pre_nms_test", "post_nms_test")
        for name in counts:
            require(getattr(self, name) > 0, f"model.rpn.{name}", "must be positive")
        require(0 < self.positive_fraction <= 1, "model.rpn.positive_fraction", "must be within (0, 1]")
        require(0 < self.nms_threshold <= 1, "model.rpn.nms_threshold", "must be within (0, 1]")


class RPNHead(nn.Module):
    """3x3 convolutions with ReLU, then objectness and box deltas of each anchor; shared by all levels."""

    channels: int
    """Channels of the hidden convolutions."""
    anchors_per_cell: int
    """Anchor sizes of a level times aspect ratios."""
    convolutions: int = 1
    """Hidden convolutions, conv, conv2 and so on."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the outputs are float32."""

    @nn.compact
    def __call__(
        self, levels: Sequence[Float[Array, "B _ _ _"]]
    ) -> tuple[list[Float[Array, "B _"]], list[Float[Array, "B _ 4"]]]:
        """Levels to objectness logits and box deltas of each, with anchors in the order row, column, size, ratio."""

        def output(features: int, name: str) -> OutputConv:
            return OutputConv(features, dtype=self.dtype, kernel_init=normal_001, name=name)

        names = ["conv", *(f"conv{index}" for index in range(2, self.convolutions + 1))]
        convolutions = [Conv(self.channels, 3, dtype=self.dtype, kernel_init=normal_001, name=name) for name in names]
        cls_logits = output(self.anchors_per_cell, "cls_logits")
        bbox_pred = output(4 * self.anchors_per_cell, "bbox_pred")
        logits, deltas = [], []
        for hidden in levels:
            for convolution in convolutions:
                hidden = relu(convolution(hidden))
            batch = hidden.shape[0]
            level_logits, level_deltas = output_convolutions((cls_logits, bbox_pred), hidden)
            logits.append(level_logits.reshape(batch, -1))
            deltas.append(level_deltas.reshape(batch, -1, 4))
        return logits, deltas


class RegionProposalNetwork(nn.Module):
    """From levels to proposals, and the loss terms of the anchors."""

    config: RPNConfig
    """Its settings."""
    anchors: AnchorConfig
    """Its anchors' settings."""
    strides: tuple[int, ...]
    """Input pixels a cell of each level: of several, which have an anchor size each, or of one, which has all sizes."""
    channels: int
    """Of the hidden convolutions."""
    inputs: tuple[str, ...] = ("fpn",)
    """The branches that the levels come through."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        anchors_per_cell = len(self.level_sizes[0]) * len(self.anchors.aspect_ratios)
        self.rpn_head = RPNHead(self.channels, anchors_per_cell, self.config.convolutions, dtype=self.dtype)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        return (Branch("rpn_head", inputs=self.inputs, late=("cls_logits", "bbox_pred")),)

    @property
    def level_sizes(self) -> tuple[tuple[float, ...], ...]:
        """The anchor sizes of each level."""
        sizes = self.anchors.sizes
        return (sizes,) if len(self.strides) == 1 else tuple((size,) for size in sizes)

    def __call__(self, levels: Sequence[Float[Array, "B _ _ C"]], canvas: tuple[int, int]) -> AnchorScores:
        """What it says of the anchors of `levels`, which are of an input of `canvas` (height, width)."""
        logits, deltas = self.rpn_head(levels)
        return AnchorScores(
            logits, deltas, self.place_anchors([(level.shape[1], level.shape[2]) for level in levels], canvas)
        )

    def place_anchors(
        self, level_sizes: Sequence[tuple[int, int]], canvas: tuple[int, int]
    ) -> tuple[Float[np.ndarray, "_ 4"], ...]:
        """The anchors of each level, by the level's height and width."""
        config = self.anchors
        strides = [
            (canvas[0] // height, canvas[1] // width) if config.fitted_strides else (stride, stride)
            for (height, width), stride in zip(level_sizes, self.strides, strict=True)
        ]
        return pyramid_anchors(level_sizes, strides, self.level_sizes, config.aspect_ratios, rounded=config.rounded)

    def propose(self, scores: AnchorScores, sizes: Int[Array, "B 2"], *, train: bool) -> Proposals:
        """The proposals of images that fill `sizes` (height, width) of the input canvas."""
        config = self.config
        pre_nms, post_nms = (
            (config.pre_nms_train, config.post_nms_train) if train else (config.pre_nms_test, config.post_nms_test)
        )
        return jax.vmap(
            lambda logits, deltas, size: select_proposals(
                logits,
                deltas,
                scores.anchors,
                size[0],
                size[1],
                pre_nms=pre_nms,
                post_nms=post_nms,
                nms_threshold=config.nms_threshold,
            )
        )(scores.logits, scores.deltas, sizes)

    def sample(
        self, scores: AnchorScores, truth: GroundTruth, image_valid: Bool[Array, " B"], keys: Key[Array, " B"]
    ) -> AnchorSamples:
        """The anchors that a step trains on; none of images that are not valid, which are no background either."""
        config = self.config
        anchors = jnp.concatenate([jnp.asarray(level) for level in scores.anchors])
        samples = jax.vmap(
            lambda key, *image: sample_anchors(
                key,
                anchors,
                *image,
                foreground_iou=config.foreground_iou,
                background_iou=config.background_iou,
                batch_size=config.batch_size,
                positive_fraction=config.positive_fraction,
            )
        )(keys, truth.boxes, truth.valid, truth.crowd)
        return dataclasses.replace(samples, valid=samples.valid & image_valid[:, None])

    def losses(self, scores: AnchorScores, samples: AnchorSamples, truth: GroundTruth) -> dict[str, Mean]:
        """The two loss terms of given samples."""
        logits = jnp.concatenate(scores.logits, axis=1)
        deltas = jnp.concatenate(scores.deltas, axis=1)
        sampled_logits = jnp.take_along_axis(logits, samples.indices, axis=1)
        sampled_deltas = jnp.take_along_axis(deltas, samples.indices[..., None], axis=1)
        sampled_anchors = jnp.concatenate([jnp.asarray(level) for level in scores.anchors])[samples.indices]
        targets = box_ops.encode(
            jnp.take_along_axis(truth.boxes, samples.truth_index[..., None], axis=1),
            sampled_anchors,
            weights=BOX_WEIGHTS,
        )
        positive, valid = samples.positive.reshape(-1), samples.valid.reshape(-1)
        return {
            "rpn_objectness": loss.objectness(sampled_logits.reshape(-1), positive, valid),
            "rpn_box": loss.box_regression(sampled_deltas.reshape(-1, 4), targets.reshape(-1, 4), positive, valid),
        }


def select_proposals(
    logits: Sequence[Float[Array, " _"]],
    deltas: Sequence[Float[Array, "_ 4"]],
    anchors: Sequence[Float[Array | np.ndarray, "_ 4"]],
    height: Array,
    width: Array,
    *,
    pre_nms: int,
    post_nms: int,
    nms_threshold: float,
) -> Proposals:
    """The proposals of one image, from the outputs of every level (torchvision's `filter_proposals`).

    Of each level the `pre_nms` anchors of highest objectness are decoded, clipped to the image of `height` x `width`
    input pixels and put through NMS; the `post_nms` best of all levels remain, best first. No gradient flows back.

    Returns:
      Proposals without the leading B: boxes [post_nms, 4], scores and valid [post_nms].
    """
    # Levels are padded to one length, so that a single NMS loop serves all of them.
    length = min(pre_nms, max(level.shape[0] for level in logits))
    boxes, scores = [], []
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
        count = min(length, level_logits.shape[0])
        top_scores, top = top_k(jax.lax.stop_gradient(level_logits), count)
        decoded = box_ops.decode(
            jax.lax.stop_gradient(level_deltas)[top], jnp.asarray(level_anchors)[top], weights=BOX_WEIGHTS
        )
        boxes.append(jnp.pad(box_ops.clip(decoded, height, width), ((0, length - count), (0, 0))))
        scores.append(jnp.pad(top_scores, (0, length - count), constant_values=-jnp.inf))
    all_boxes, all_scores = jnp.stack(boxes), jnp.stack(scores)
    sides = all_boxes[..., 2:] - all_boxes[..., :2]
    valid = (sides >= MINIMUM_SIDE).all(-1) & (all_scores > -jnp.inf)
    keep = jax.vmap(lambda b, s, v: nms(b, s, v, nms_threshold))(all_boxes, all_scores, valid)
    scores_kept = jnp.where(keep, all_scores, -jnp.inf).reshape(-1)
    count = min(post_nms, scores_kept.shape[0])
    top_scores, top = jax.lax.top_k(scores_kept, count)
    fill = post_nms - count
    return Proposals(
        boxes=jnp.pad(all_boxes.reshape(-1, 4)[top], ((0, fill), (0, 0))),
        scores=jnp.pad(top_scores, (0, fill), constant_values=-jnp.inf),
        valid=jnp.pad(top_scores > -jnp.inf, (0, fill)),
    )


def sample_anchors(
    key: PRNGKeyArray,
    anchors: Float[Array, "A 4"],
    truth_boxes: Float[Array, "G 4"],
    truth_valid: Bool[Array, " G"],
    truth_crowd: Bool[Array, " G"],
    *,
    foreground_iou: float,
    background_iou: float,
    batch_size: int,
    positive_fraction: float,
) -> AnchorSamples:
    """Matches anchors with amodal boxes, low-quality matches included, and samples (torchvision's RPN)."""
    matches = match(
        anchors,
        truth_boxes,
        truth_valid,
        truth_crowd,
        foreground_iou=foreground_iou,
        background_iou=background_iou,
        allow_low_quality=True,
    )
    samples = sample_balanced(
        key, matches.positive, matches.negative, size=batch_size, positive_fraction=positive_fraction
    )
    return AnchorSamples(samples.indices, matches.truth_index[samples.indices], samples.positive, samples.valid)
