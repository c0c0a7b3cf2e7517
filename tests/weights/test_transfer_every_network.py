"""Every network starts from torchvision's and detectron2's Mask R-CNN: what is taken, layer by layer.

The weights are those of the published layouts, of networks with few channels: whole in form (two dense layers or four
convolutions in the box branch, batch norms, one mask branch, the settings that they expect), drawn by a seed.
"""

import copy
import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from amodal_jax.config import BackboneConfig, Config
from amodal_jax.models.layers import FrozenBatchNorm
from amodal_jax.network import Variables
from amodal_jax.runs.checkpoint_writer import write_network
from amodal_jax.training.start import config_to_start_from
from amodal_jax.training.state import started_from
from amodal_jax.weights.layouts import detectron2, torchvision
from amodal_jax.weights.layouts.layout import Layout
from amodal_jax.weights.transfer import transfer
from tests.helpers.every_network import DETECTORS, every_config
from tests.helpers.micro import micro_config
from tests.helpers.transfers import assert_report_is_what_happened, random_variables

BACKBONE = BackboneConfig(depth=18, width=8, frozen_stages=0)
PUBLISHED = {
    "torchvision": torchvision.DETECTORS[0],
    "torchvision_v2": torchvision.DETECTORS[-1],
    "detectron2": next(one for one in detectron2.LAYOUTS if one.class_scores),
}
LEVELS = (2, 3, 4, 5)


class Weights(NamedTuple):
    """A checkpoint as an import writes it."""

    whose: str
    folder: Path
    config: Config
    variables: Variables


def small(layout: Layout) -> Config:
    """The configuration of weights in a published layout, with few channels and on a small canvas."""
    model, micro = layout.config.model, micro_config()
    model = dataclasses.replace(
        model,
        class_names=("person", "bicycle", "car", "bus", "train", "truck", "dog"),
        fpn_channels=16,
        backbone=dataclasses.replace(BACKBONE, stride_in_1x1=model.backbone.stride_in_1x1),
        heads=dataclasses.replace(model.heads, fc_channels=16, channels=16),
        input=dataclasses.replace(model.input, short_side=64, long_side=96, height=64, width=96),
    )
    return dataclasses.replace(micro, name=layout.title, model=model)


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request, tmp_path_factory) -> Weights:
    """The weights of a published detector."""
    config = small(PUBLISHED[request.param])
    folder = tmp_path_factory.mktemp("weights") / request.param
    variables = random_variables(config, 1)
    write_network(folder, config, variables)
    return Weights(request.param, folder, config, variables)


def with_norms_worked_in(variables: Variables) -> Variables:
    """Convolutions that give at once what those of the weights and the frozen batch norms behind them give.

    The backbone keeps its norms, as it has them in every network.
    """
    result = copy.deepcopy(variables)

    def work_in(params, frozen):
        for name, norm in list(frozen.items()):
            if not name.endswith("_norm"):
                work_in(params[name], norm)
                continue
            of_norm = {key: value.astype(np.float64) for key, value in frozen.pop(name).items()}
            scale = of_norm["scale"] / np.sqrt(of_norm["var"] + FrozenBatchNorm.epsilon)
            layer = params[name.removesuffix("_norm")]
            layer["kernel"] = (layer["kernel"] * scale).astype(np.float32)
            layer["bias"] = (of_norm["bias"] - of_norm["mean"] * scale).astype(np.float32)

    for module, frozen in result["frozen"].items():
        if module != "backbone":
            work_in(result["params"][module], frozen)
    return result


def is_expected(layer: str, whose: str) -> bool:
    """Whether the published weights have what the layer needs: by what is new in each network."""
    if layer.startswith(("backbone/", "rpn_head/")):
        return True
    if layer.startswith("fpn/"):
        return not layer.startswith("fpn/bottom_up/")
    if layer.startswith(("box_head/", "box_predictor/", "occlusion_head/convolutions/")):
        return whose == "torchvision_v2"  # the others' box branch has two dense layers
    mask_branch = layer.startswith(("amodal_mask_head/", "inmodal_mask_head/"))
    return mask_branch and "/mlc/" not in layer and "/fusion/" not in layer


@pytest.mark.parametrize("name", DETECTORS)
def test_it_starts_from_a_published_detector(name, published, tmp_path, capsys):
    config = config_to_start_from(published.folder, every_config(name, backbone=BACKBONE), tmp_path)
    assert config.model.anchors == published.config.model.anchors
    assert config.model.roi.aligned == published.config.model.roi.aligned == (published.whose == "detectron2")
    variables = random_variables(config, 2)
    result, report = transfer(published.variables, published.config, variables, config)
    assert_report_is_what_happened(with_norms_worked_in(published.variables), variables, result, report)
    assert report.settings == {}
    started = {*report.taken, *report.by_class}
    assert started == {layer for layer in {*started, *report.new} if is_expected(layer, published.whose)}
    # The same is what a training says and writes.
    written = started_from(published.folder, variables, config, tmp_path)
    assert_report_is_what_happened(with_norms_worked_in(published.variables), variables, written, report)
    content = json.loads((tmp_path / "init.json").read_text())
    assert content == {"checkpoint": str(published.folder), **json.loads(json.dumps(report.as_dict()))}
    assert "taken: backbone" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["panet", "asn_panet"])
@pytest.mark.parametrize("box", ["conv4_fc1", "fc2"])
def test_the_layers_of_all_levels_start_from_the_one_that_they_replace(name, box, published):
    """Of PANet's adaptive feature pooling; with PANet's own box branch, of two dense layers, also that one's."""
    config = every_config(name, backbone=BACKBONE)
    heads = dataclasses.replace(config.model.heads, box=box)
    mlc = dataclasses.replace(config.model.mlc, enabled=config.model.mlc.enabled and box == "conv4_fc1")
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, heads=heads, mlc=mlc))
    _, report = transfer(published.variables, published.config, random_variables(config, 2), config)
    for level in LEVELS:
        for kind in ("amodal", "inmodal"):
            layer = f"{kind}_mask_head/mask_fcn1_level{level}"
            assert report.taken[layer] == "inmodal_mask_head/mask_fcn1"
        layer = {"conv4_fc1": "box_head/convolutions/conv1", "fc2": "box_head/fc6"}[box]
        if box == published.config.model.heads.box:
            assert report.taken[f"{layer}_level{level}"] == layer
            assert {"box_predictor/cls_score", "box_predictor/bbox_pred"} <= report.by_class.keys()
        else:
            assert report.new[f"{layer}_level{level}"] == "not in the weights"
