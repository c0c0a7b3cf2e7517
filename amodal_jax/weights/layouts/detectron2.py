"""detectron2's weights: MSRA's ResNets that its training starts from, and its Mask R-CNN on them with a pyramid.

MSRA's ResNets have the names of Caffe2, in two forms: with the values of batch norm, as detectron2 distributes them,
and with those fused to an affine layer, as its predecessor did. They see BGR images minus a mean, divided by nothing,
and take the stride of a block in its first convolution. Mask R-CNN has the names of detectron2's own modules.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

import numpy as np

from amodal_jax.classes import COCO_CATEGORIES
from amodal_jax.config import (
    AnchorConfig,
    BackboneConfig,
    Config,
    EvaluationConfig,
    HeadConfig,
    InputConfig,
    MLCConfig,
    ModelConfig,
    OcclusionConfig,
    RoIConfig,
    RPNConfig,
)
from amodal_jax.errors import WeightsError
from amodal_jax.weights.layouts.layout import (
    ANCHORS,
    BATCH_NORM_EPSILON,
    CELLS,
    CHANNELS,
    HIDDEN,
    MASK_HEAD,
    Layout,
    Source,
    Sources,
    convolution,
    deconvolution,
    dense,
    dense_over_cells,
    residual_network,
    vector,
    with_bias,
)

Depth = Literal[50, 101]
Form = Literal["batch norm", "affine"]

COCO_CLASS_NAMES = tuple(COCO_CATEGORIES.values())
"""The classes of the published weights, in the order of their labels: label i is detectron2's class i."""

_PIXEL_MEAN = (103.53, 116.28, 123.675)  # of BGR, 0 to 255
_PIXEL_STD = (1.0, 1.0, 1.0)  # the first convolution's weights are divided by the deviation


# ----- MSRA's ResNets


def _caffe2_norm(path: str, name: str, channels: int, form: Form) -> Sources:
    """The frozen batch norm at `path`. An affine layer is one with the mean 0 and, epsilon added, the variance 1."""
    if form == "batch norm":
        values = {"scale": "gamma", "bias": "beta", "mean": "running_mean", "var": "running_var"}
        return {f"frozen/{path}/{ours}": vector(f"{name}_{theirs}", channels) for ours, theirs in values.items()}
    return {
        f"frozen/{path}/scale": vector(f"{name}_s", channels),
        f"frozen/{path}/bias": vector(f"{name}_b", channels),
        f"frozen/{path}/mean": Source({}, lambda: np.zeros(channels, np.float32)),
        f"frozen/{path}/var": Source({}, lambda: np.full(channels, 1 - BATCH_NORM_EPSILON, np.float32)),
    }


def _caffe2_backbone(depth: Depth, form: Form) -> Sources:
    def convolution_of(name: str, number: int) -> tuple[str, str]:
        branch = f"{name}_branch2{'abc'[number - 1]}"
        return branch, f"{branch}_bn"

    return residual_network(
        depth,
        stem=("conv1", "res_conv1_bn"),
        block=lambda block: f"res{block.stage + 1}_{block.index}",
        convolution_of=convolution_of,
        shortcut=("_branch1", "_branch1_bn"),
        weight="_w",
        norm=functools.partial(_caffe2_norm, form=form),
    )


def _msra_layout(depth: Depth, form: Form) -> Layout:
    return Layout(
        title=f"MSRA's R-{depth}.pkl of {'detectron2' if form == 'batch norm' else 'Detectron'}",
        config=Config(
            name=f"msra_resnet{depth}",
            model=ModelConfig(
                class_names=(),
                input=_input(InputConfig(), _PIXEL_MEAN, _PIXEL_STD, "bgr"),
                backbone=BackboneConfig(depth=depth, stride_in_1x1=True),
            ),
        ),
        sources=lambda classes: _caffe2_backbone(depth, form),
        # The classifier, the optimiser's state, and biases of convolutions, all of which detectron2 leaves out as well:
        # batch norm comes after each convolution.
        unread=r"(fc1000|pred)_[wb]|conv1_b|res\d_\d+_branch(1|2[abc])_b|.*_momentum",
    )


# ----- Mask R-CNN


def _mask_rcnn(depth: Depth, classes: int) -> Sources:
    """The table of a detector."""
    bottom_up = "backbone.bottom_up"
    sources = residual_network(
        depth,
        stem=(f"{bottom_up}.stem.conv1", f"{bottom_up}.stem.conv1.norm"),
        block=lambda block: f"{bottom_up}.res{block.stage + 1}.{block.index}",
        convolution_of=lambda name, number: (f"{name}.conv{number}", f"{name}.conv{number}.norm"),
        shortcut=(".shortcut", ".shortcut.norm"),
        weight=".weight",
    )

    def conv(ours: str, theirs: str, size: int, inputs: int, outputs: int) -> Sources:
        return with_bias(ours, theirs, convolution(f"{theirs}.weight", size, inputs, outputs), outputs)

    for level, inputs in enumerate((256, 512, 1024, 2048), start=1):
        sources |= conv(f"fpn/inner{level}", f"backbone.fpn_lateral{level + 1}", 1, inputs, CHANNELS)
        sources |= conv(f"fpn/layer{level}", f"backbone.fpn_output{level + 1}", 3, CHANNELS, CHANNELS)
    rpn = "proposal_generator.rpn_head"
    sources |= conv("rpn_head/conv", f"{rpn}.conv", 3, CHANNELS, CHANNELS)
    sources |= conv("rpn_head/cls_logits", f"{rpn}.objectness_logits", 1, CHANNELS, ANCHORS)
    sources |= conv("rpn_head/bbox_pred", f"{rpn}.anchor_deltas", 1, CHANNELS, 4 * ANCHORS)

    fc1, fc2 = "roi_heads.box_head.fc1", "roi_heads.box_head.fc2"
    over_cells = dense_over_cells(f"{fc1}.weight", CELLS, CHANNELS, HIDDEN)
    sources |= with_bias("box_head/fc6", fc1, over_cells, HIDDEN)
    sources |= with_bias("box_head/fc7", fc2, dense(f"{fc2}.weight", HIDDEN, HIDDEN), HIDDEN)
    predictor, scores = "roi_heads.box_predictor", _CLASS_SCORES.removesuffix(".bias")
    sources["params/box_predictor/cls_score/kernel"] = _background_first(dense(f"{scores}.weight", HIDDEN, classes + 1))
    sources["params/box_predictor/cls_score/bias"] = _background_first(vector(_CLASS_SCORES, classes + 1))
    deltas = f"{predictor}.bbox_pred"
    sources |= {
        "params/box_predictor/bbox_pred/kernel": _background_added(dense(f"{deltas}.weight", HIDDEN, 4 * classes), 4),
        "params/box_predictor/bbox_pred/bias": _background_added(vector(f"{deltas}.bias", 4 * classes), 4),
    }

    mask = "roi_heads.mask_head"
    for number in range(1, 5):
        sources |= conv(f"{MASK_HEAD}/mask_fcn{number}", f"{mask}.mask_fcn{number}", 3, CHANNELS, CHANNELS)
    kernel = deconvolution(f"{mask}.deconv.weight", 2, CHANNELS, CHANNELS)
    sources |= with_bias(f"{MASK_HEAD}/conv5_mask", f"{mask}.deconv", kernel, CHANNELS)
    logits = conv(f"{MASK_HEAD}/mask_fcn_logits", f"{mask}.predictor", 1, CHANNELS, classes)
    return sources | {path: _background_added(source, 1) for path, source in logits.items()}


_CLASS_SCORES = "roi_heads.box_predictor.cls_score.bias"


def _background_first(source: Source) -> Source:
    """Outputs [..., K1] with the background's, which is detectron2's last, in front."""
    return Source(source.reads, lambda *arrays: np.roll(source.make(*arrays), 1, axis=-1))


def _background_added(source: Source, width: int) -> Source:
    """Outputs [..., K * width] with `width` zeros for the background in front, which nothing reads."""

    def make(*arrays: np.ndarray) -> np.ndarray:
        outputs = source.make(*arrays)
        return np.pad(outputs, [*[(0, 0)] * (outputs.ndim - 1), (width, 0)])

    return Source(source.reads, make)


def _input(
    config: InputConfig,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channel_order: Literal["rgb", "bgr"],
) -> InputConfig:
    """`config` with a mean and a deviation that are given for values from 0 to 255."""
    return dataclasses.replace(
        config,
        mean=tuple(value / 255 for value in mean),
        std=tuple(value / 255 for value in std),
        channel_order=channel_order,
    )


def _with_stored_pixels(config: Config, arrays: Mapping[str, np.ndarray]) -> Config:
    """The configuration with the normalisation of the image that some files hold.

    A mean that is red's first says that the network sees RGB, and a deviation other than 1 that its backbone comes from
    torchvision, with the stride in the 3x3 convolution, as detectron2's converter of those has it.
    """
    stored = {}
    for name, usual in (("pixel_mean", _PIXEL_MEAN), ("pixel_std", _PIXEL_STD)):
        values = tuple(np.ravel(arrays[name]).tolist()) if name in arrays else usual
        if len(values) != 3:
            raise WeightsError(f"{name} has {len(values)} values, not one for each of three channels")
        stored[name] = tuple(round(value, 4) for value in values)
    mean, std = stored["pixel_mean"], stored["pixel_std"]
    orders: dict[tuple[float, ...], Literal["rgb", "bgr"]] = {_PIXEL_MEAN: "bgr", _PIXEL_MEAN[::-1]: "rgb"}
    if mean not in orders:
        raise WeightsError(
            f"pixel_mean is {mean}, which is ImageNet's neither as RGB nor as BGR: which of them the network sees is "
            "not known"
        )
    backbone = dataclasses.replace(config.model.backbone, stride_in_1x1=std == _PIXEL_STD)
    model_input = _input(config.model.input, mean, std, orders[mean])
    model = dataclasses.replace(config.model, input=model_input, backbone=backbone)
    return dataclasses.replace(config, model=model)


def _mask_rcnn_layout(depth: Depth) -> Layout:
    canvas = InputConfig(short_side=800, long_side=1333, height=800, width=1344)
    return Layout(
        title=f"detectron2's mask_rcnn_R_{depth}_FPN",
        config=Config(
            name=f"detectron2_mask_rcnn_r{depth}_fpn",
            model=ModelConfig(
                class_names=(),
                input=_input(canvas, _PIXEL_MEAN, _PIXEL_STD, "bgr"),
                backbone=BackboneConfig(depth=depth, stride_in_1x1=True),
                anchors=AnchorConfig(rounded=False, fitted_strides=False),
                rpn=RPNConfig(pre_nms_train=2000, post_nms_train=1000, pre_nms_test=1000, post_nms_test=1000),
                roi=RoIConfig(aligned=True, sampling_ratio=0),
                heads=HeadConfig(box="fc2", amodal_mask=False),
                occlusion=OcclusionConfig(enabled=False),
                mlc=MLCConfig(enabled=False),
            ),
            evaluation=EvaluationConfig(max_detections=100),
        ),
        sources=functools.partial(_mask_rcnn, depth),
        class_scores=_CLASS_SCORES,
        class_names=COCO_CLASS_NAMES,
        unread=r"pixel_(mean|std)|proposal_generator\.anchor_generator\.cell_anchors\.\d|.*\.num_batches_tracked",
        configure=_with_stored_pixels,
    )


LAYOUTS = (
    *(_msra_layout(depth, form) for depth in (50, 101) for form in ("batch norm", "affine")),
    *(_mask_rcnn_layout(depth) for depth in (50, 101)),
)
