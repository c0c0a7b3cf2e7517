"""A configuration's network, and its first parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from amodal_jax.config import Config, ConfigError, MLCConfig
from amodal_jax.crop_shape import PACKED_CROP_SHAPE
from amodal_jax.models.detector import Detector
from amodal_jax.models.fpn import FPN
from amodal_jax.models.heads import (
    BoxPredictor,
    ConvolutionBranch,
    MaskHead,
    OcclusionPredictor,
    TwoDenseBranch,
)
from amodal_jax.models.mlc import MultiLevelCoding, ReleasedMultiLevelCoding
from amodal_jax.models.resnet import ResNet
from amodal_jax.models.rpn import RPNHead
from amodal_jax.structures import Batch, GroundTruth

Variables = dict[str, Any]
"""Flax variables: "params" and, with frozen batch norm, "frozen"."""


def build_detector(config: Config, input_size: tuple[int, int] | None = None) -> Detector:
    """The network of a configuration.

    Args:
      config: its `model` and `evaluation` sections are read.
      input_size: height and width of the network's input canvas, multiples of 32, instead of the configuration's; the
        parameters are the same for every size.

    Raises:
      ConfigError: the configuration names no classes.
    """
    model, evaluation = config.model, config.evaluation
    if not model.class_names:
        raise ConfigError("model.class_names is empty: name the classes, or train on a dataset, which fills it in")
    classes = len(model.class_names) + 1
    dtype = jnp.bfloat16 if model.compute_dtype == "bfloat16" else jnp.float32
    heads, rpn, roi = model.heads, model.rpn, model.roi

    def branch() -> ConvolutionBranch:
        return ConvolutionBranch(heads.channels, heads.fc_channels, norm=heads.norm, dtype=dtype)

    def mask_head() -> MaskHead:
        mlc = _build_mlc(model.mlc, heads.channels, dtype) if model.mlc.enabled else None
        return MaskHead(heads.channels, classes, mlc=mlc, mlc_layer=model.mlc.mask_layer, norm=heads.norm, dtype=dtype)

    return Detector(
        backbone=ResNet(
            depth=model.backbone.depth,
            norm=model.backbone.norm,
            width=model.backbone.width,
            stride_in_1x1=model.backbone.stride_in_1x1,
            frozen_stages=model.backbone.frozen_stages,
            dtype=dtype,
        ),
        fpn=FPN(model.fpn_channels, norm=heads.norm, dtype=dtype),
        rpn_head=RPNHead(model.fpn_channels, len(model.anchors.aspect_ratios), rpn.convolutions, dtype=dtype),
        box_head=branch() if heads.box == "conv4_fc1" else TwoDenseBranch(heads.fc_channels, dtype=dtype),
        box_predictor=BoxPredictor(classes),
        occlusion_head=branch() if model.occlusion.enabled else None,
        occlusion_predictor=OcclusionPredictor() if model.occlusion.enabled else None,
        amodal_mask_head=mask_head() if heads.amodal_mask else None,
        inmodal_mask_head=mask_head() if heads.inmodal_mask else None,
        guidance_layer=model.mlc.box_layer if model.mlc.enabled else None,
        input_size=input_size or (model.input.height, model.input.width),
        short_side=model.input.short_side,
        long_side=model.input.long_side,
        mean=model.input.mean,
        std=model.input.std,
        channel_order=model.input.channel_order,
        anchor_sizes=model.anchors.sizes,
        aspect_ratios=model.anchors.aspect_ratios,
        anchors_rounded=model.anchors.rounded,
        anchors_fitted=model.anchors.fitted_strides,
        rpn_foreground_iou=rpn.foreground_iou,
        rpn_background_iou=rpn.background_iou,
        rpn_batch_size=rpn.batch_size,
        rpn_positive_fraction=rpn.positive_fraction,
        rpn_nms_threshold=rpn.nms_threshold,
        pre_nms=(rpn.pre_nms_train, rpn.pre_nms_test),
        post_nms=(rpn.post_nms_train, rpn.post_nms_test),
        roi_batch_size=roi.batch_size,
        roi_positive_fraction=roi.positive_fraction,
        roi_iou_threshold=roi.iou_threshold,
        box_cells=roi.box_size,
        mask_cells=roi.mask_size,
        sampling_ratio=roi.sampling_ratio,
        aligned=roi.aligned,
        box_weights=roi.box_weights,
        occlusion_threshold=model.occlusion.threshold,
        occlusion_positive_weight=model.occlusion.positive_weight,
        score_threshold=evaluation.score_threshold,
        nms_threshold=evaluation.nms_threshold,
        max_detections=evaluation.max_detections,
        max_detections_per_class=evaluation.max_detections_per_class,
    )


def _build_mlc(mlc: MLCConfig, channels: int, dtype: DTypeLike) -> MultiLevelCoding | ReleasedMultiLevelCoding:
    if mlc.form == "released":
        return ReleasedMultiLevelCoding(channels, dtype=dtype)
    return MultiLevelCoding(
        channels,
        join_features=mlc.join_features,
        extraction_order=mlc.extraction_order,
        extraction_convolutions=mlc.extraction_convolutions,
        join_mask=mlc.join_mask,
        combination_order=mlc.combination_order,
        combination_convolutions=mlc.combination_convolutions,
        dtype=dtype,
    )


def initialise(detector: Detector, config: Config, key: jax.Array) -> Variables:
    """Random parameters, drawn from `key`; convolutions by MSRA's rule, dense layers by Xavier's."""
    height, width, slots = config.data.canvas_height, config.data.canvas_width, config.data.max_instances
    crops = np.zeros((1, slots, *PACKED_CROP_SHAPE), np.uint8)
    batch = Batch(
        images=np.zeros((1, height, width, 3), np.uint8),
        sizes=np.array([[height, width]], np.int32),
        image_ids=np.zeros(1, np.int32),
        valid=np.ones(1, bool),
        truth=GroundTruth(
            boxes=np.zeros((1, slots, 4), np.float32),
            labels=np.zeros((1, slots), np.int32),
            occlusion_ratio=np.zeros((1, slots), np.float32),
            amodal_crops=crops,
            inmodal_crops=crops,
            valid=np.zeros((1, slots), bool),
            crowd=np.zeros((1, slots), bool),
        ),
    )
    batch = jax.tree.map(jnp.asarray, batch)
    # Under jit the forward pass that names the parameters is dead code and costs nothing.
    initialise_all = jax.jit(lambda key: detector.init(key, batch, key[None], method="losses"))
    return initialise_all(key)
