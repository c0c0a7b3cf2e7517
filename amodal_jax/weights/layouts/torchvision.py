"""torchvision's weights: its ResNet classifiers, and Mask R-CNN on ResNet-50 with a pyramid, in both versions.

Names are those of the models' state dicts. Those of Mask R-CNN changed with torchvision 0.13; the weights published on
COCO still have the old ones, which torchvision renames when it reads them.
"""

import functools
from collections.abc import Mapping
from typing import Literal

import numpy as np

from amodal_jax.classes import COCO_CATEGORIES
from amodal_jax.config import (
    BackboneConfig,
    Config,
    EvaluationConfig,
    HeadConfig,
    InputConfig,
    MLCConfig,
    ModelConfig,
    OcclusionConfig,
    RPNConfig,
)
from amodal_jax.weights.layouts.layout import (
    ANCHORS,
    BATCH_NORM_EPSILON,
    CELLS,
    CHANNELS,
    HIDDEN,
    MASK_HEAD,
    Layout,
    Sources,
    batch_norm,
    convolution,
    deconvolution,
    dense,
    dense_over_cells,
    residual_network,
    with_bias,
)

# torchvision's networks have an output for each of COCO's ids, also for those that no class has.
COCO_CLASS_NAMES = tuple(
    COCO_CATEGORIES.get(number, f"unused {number}") for number in range(1, max(COCO_CATEGORIES) + 1)
)
"""COCO's classes by their ids: label i is COCO's category i + 1."""

Version = Literal["v1", "v1 before 0.13", "v2"]


def _backbone(depth: int, prefix: str) -> Sources:
    return residual_network(
        depth,
        stem=(f"{prefix}conv1", f"{prefix}bn1"),
        block=lambda block: f"{prefix}layer{block.stage}.{block.index}",
        convolution_of=lambda name, number: (f"{name}.conv{number}", f"{name}.bn{number}"),
        shortcut=(".downsample.0", ".downsample.1"),
        weight=".weight",
    )


def _mask_rcnn(version: Version, classes: int) -> Sources:
    """The table of a detector on ResNet-50."""
    normalised = version == "v2"
    old = version == "v1 before 0.13"

    def conv(ours: str, theirs: str, size: int, inputs: int, outputs: int, *, norm: bool = False) -> Sources:
        """A convolution, with its bias or the batch norm after it."""
        if norm:
            kernel = convolution(f"{theirs}.0.weight", size, inputs, outputs)
            return {f"params/{ours}/kernel": kernel} | batch_norm(f"{ours}_norm", f"{theirs}.1", outputs)
        return with_bias(ours, theirs, convolution(f"{theirs}.weight", size, inputs, outputs), outputs)

    def sequence(ours: str, theirs: str, size: int, inputs: int) -> Sources:
        """A convolution within torchvision's `Conv2dNormActivation`, a sequence, which version 0.13 introduced."""
        place = theirs if old or normalised else f"{theirs}.0"
        return conv(ours, place, size, inputs, CHANNELS, norm=normalised)

    sources = _backbone(50, "backbone.body.")
    for level, inputs in enumerate((256, 512, 1024, 2048), start=1):
        sources |= sequence(f"fpn/inner{level}", f"backbone.fpn.inner_blocks.{level - 1}", 1, inputs)
        sources |= sequence(f"fpn/layer{level}", f"backbone.fpn.layer_blocks.{level - 1}", 3, CHANNELS)

    for number in range(1, 3 if version == "v2" else 2):
        theirs = "rpn.head.conv" if old else f"rpn.head.conv.{number - 1}.0"
        sources |= conv(f"rpn_head/conv{number}" if number > 1 else "rpn_head/conv", theirs, 3, CHANNELS, CHANNELS)
    sources |= conv("rpn_head/cls_logits", "rpn.head.cls_logits", 1, CHANNELS, ANCHORS)
    sources |= conv("rpn_head/bbox_pred", "rpn.head.bbox_pred", 1, CHANNELS, 4 * ANCHORS)

    over_cells = functools.partial(dense_over_cells, cells=CELLS, channels=CHANNELS, outputs=HIDDEN)
    if version == "v2":
        for number in range(1, 5):
            sources |= sequence(f"box_head/convolutions/conv{number}", f"roi_heads.box_head.{number - 1}", 3, CHANNELS)
        sources |= with_bias("box_head/fc", "roi_heads.box_head.5", over_cells("roi_heads.box_head.5.weight"), HIDDEN)
    else:
        fc6, fc7 = "roi_heads.box_head.fc6", "roi_heads.box_head.fc7"
        sources |= with_bias("box_head/fc6", fc6, over_cells(f"{fc6}.weight"), HIDDEN)
        sources |= with_bias("box_head/fc7", fc7, dense(f"{fc7}.weight", HIDDEN, HIDDEN), HIDDEN)
    for name, outputs in {"cls_score": classes + 1, "bbox_pred": 4 * (classes + 1)}.items():
        theirs = f"roi_heads.box_predictor.{name}"
        sources |= with_bias(f"box_predictor/{name}", theirs, dense(f"{theirs}.weight", HIDDEN, outputs), outputs)

    for number in range(1, 5):
        theirs = f"roi_heads.mask_head.mask_fcn{number}" if old else f"roi_heads.mask_head.{number - 1}"
        sources |= sequence(f"{MASK_HEAD}/mask_fcn{number}", theirs, 3, CHANNELS)
    theirs = "roi_heads.mask_predictor.conv5_mask"
    kernel = deconvolution(f"{theirs}.weight", 2, CHANNELS, CHANNELS)
    sources |= with_bias(f"{MASK_HEAD}/conv5_mask", theirs, kernel, CHANNELS)
    theirs = "roi_heads.mask_predictor.mask_fcn_logits"
    return sources | conv(f"{MASK_HEAD}/mask_fcn_logits", theirs, 1, CHANNELS, classes + 1)


def _published_epsilon(arrays: Mapping[str, np.ndarray]) -> float:
    """0 for the detector that torchvision publishes, whose batch norm it runs without an epsilon.

    The arrays do not say so. It is the one with all of COCO's outputs whose batch norm was frozen: one that was trained
    counts its steps in `num_batches_tracked`.
    """
    trained = any(name.endswith("num_batches_tracked") for name in arrays)
    published = len(arrays[_CLASS_SCORES]) == len(COCO_CLASS_NAMES) + 1
    return 0.0 if published and not trained else BATCH_NORM_EPSILON


_CLASS_SCORES = "roi_heads.box_predictor.cls_score.bias"
_STEP_COUNTS = r".*\.num_batches_tracked"


def _classifier_layout(depth: Literal[18, 50, 101]) -> Layout:
    return Layout(
        title=f"torchvision's resnet{depth} classifier",
        config=Config(
            name=f"torchvision_resnet{depth}",
            model=ModelConfig(class_names=(), backbone=BackboneConfig(depth=depth)),
        ),
        sources=lambda classes: _backbone(depth, ""),
        unread=r"(.*\.)?num_batches_tracked|fc\.(weight|bias)",
    )


def _mask_rcnn_layout(version: Version) -> Layout:
    name = f"maskrcnn_resnet50_fpn{'_v2' if version == 'v2' else ''}"
    heads = HeadConfig(box="fc2", amodal_mask=False)
    if version == "v2":
        heads = HeadConfig(box="conv4_fc1", norm="frozen_batch_norm", amodal_mask=False)
    return Layout(
        title=f"torchvision's {name}{' from before 0.13' if version == 'v1 before 0.13' else ''}",
        config=Config(
            name=f"torchvision_{name}",
            model=ModelConfig(
                class_names=(),
                input=InputConfig(short_side=800, long_side=1333, height=800, width=1344),
                rpn=RPNConfig(convolutions=2 if version == "v2" else 1, pre_nms_test=1000),
                heads=heads,
                occlusion=OcclusionConfig(enabled=False),
                mlc=MLCConfig(enabled=False),
            ),
            evaluation=EvaluationConfig(max_detections=100, mask_paste="torchvision"),
        ),
        sources=functools.partial(_mask_rcnn, version),
        class_scores=_CLASS_SCORES,
        class_names=COCO_CLASS_NAMES,
        unread=_STEP_COUNTS,
        batch_norm_epsilon=(lambda arrays: BATCH_NORM_EPSILON) if version == "v2" else _published_epsilon,
    )


DETECTORS = tuple(_mask_rcnn_layout(version) for version in ("v1", "v1 before 0.13", "v2"))
LAYOUTS = (*(_classifier_layout(depth) for depth in (18, 50, 101)), *DETECTORS)
