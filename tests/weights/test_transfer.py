import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import (
    AnchorConfig,
    BackboneConfig,
    Config,
    HeadConfig,
    InputConfig,
    MLCConfig,
    OcclusionConfig,
    RoIConfig,
    RPNConfig,
)
from amodal_jax.errors import CheckpointError
from amodal_jax.models.necks.fpn import FPN
from amodal_jax.weights.transfer import adopt_settings, transfer
from tests.helpers.micro import micro_config
from tests.helpers.transfers import arrays, assert_equal, assert_report_is_what_happened, random_variables

COCO_NAMES = ("person", "bicycle", "car", "bus", "train", "truck", "dog")
PLAIN = {"occlusion": OcclusionConfig(enabled=False), "mlc": MLCConfig(enabled=False)}
BACKBONE = BackboneConfig(depth=18, width=8, frozen_stages=0)


def heads(**changes):
    return dataclasses.replace(HeadConfig(fc_channels=16, channels=16), **changes)


ASN = micro_config(backbone=BACKBONE, heads=heads())
DETECTOR = micro_config(backbone=BACKBONE, heads=heads(amodal_mask=False), class_names=COCO_NAMES, **PLAIN)
CLASSES = {"cyclist": "bicycle", "pedestrian": "person", "car": "car", "tram": "train", "truck": "truck", "van": "bus"}


def changed(config, **model_changes):
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **model_changes))


def started(weights_config, config):
    """(the other network's variables, the first ones, the ones to start with, the report), the first two unchanged."""
    weights, variables = random_variables(weights_config, 1), random_variables(config, 2)
    before = copy.deepcopy((weights, variables))
    result, report = transfer(weights, weights_config, variables, config)
    assert jax.tree.structure(result) == jax.tree.structure(variables)
    for left, right in zip(jax.tree.leaves((weights, variables)), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(left, right)
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(variables), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return weights, variables, result, report


def test_a_detector_of_other_classes_starts_an_asn():
    weights, variables, result, report = started(DETECTOR, ASN)
    assert_report_is_what_happened(weights, variables, result, report)
    assert report.classes == CLASSES
    for layer in ("backbone/layer4_1/conv2", "fpn/inner1", "rpn_head/cls_logits", "box_head/fc"):
        assert report.taken[layer] == layer
    for number in range(1, 5):
        # One mask branch starts both, the box branch's convolutions those of the occlusion branch.
        for head in ("amodal_mask_head", "inmodal_mask_head"):
            assert_equal(result, f"{head}/mask_fcn{number}", weights, f"inmodal_mask_head/mask_fcn{number}")
        conv = f"convolutions/conv{number}"
        assert_equal(result, f"occlusion_head/{conv}", weights, f"box_head/{conv}")
    assert_equal(result, "amodal_mask_head/conv5_mask", weights, "inmodal_mask_head/conv5_mask")
    assert report.new == {
        "occlusion_head/fc": "not in the weights",
        "occlusion_predictor/occ_score": "not in the weights",
        **{layer: "not in the weights" for layer in report.new if "/mlc/" in layer},
    }
    assert sum("amodal_mask_head/mlc/" in layer for layer in report.new) == 6
    assert report.left == ()
    assert report.settings == {}


@pytest.mark.parametrize(
    ("layer", "old", "width"),
    [
        ("box_predictor/cls_score", "box_predictor/cls_score", 1),
        ("box_predictor/bbox_pred", "box_predictor/bbox_pred", 4),
        ("amodal_mask_head/mask_fcn_logits", "inmodal_mask_head/mask_fcn_logits", 1),
        ("inmodal_mask_head/mask_fcn_logits", "inmodal_mask_head/mask_fcn_logits", 1),
    ],
)
def test_outputs_are_taken_class_by_class(layer, old, width):
    weights, variables, result, report = started(DETECTOR, ASN)
    assert report.by_class[layer] == old
    new_names, old_names = ("background", *ASN.model.class_names), ("background", *COCO_NAMES)
    for place, array in arrays(result, layer).items():
        for index, name in enumerate(new_names):
            ours = array[..., width * index : width * (index + 1)]
            if name == "misc":
                expected = arrays(variables, layer)[place][..., width * index : width * (index + 1)]
            else:
                origin = old_names.index({"background": "background", **CLASSES}[name])
                expected = arrays(weights, old)[place][..., width * origin : width * (origin + 1)]
            np.testing.assert_array_equal(ours, expected, err_msg=name)


def test_the_two_dense_layers_of_the_classic_box_branch_start_nothing():
    """Neither the branch with convolutions nor the outputs behind it, which see another hidden vector."""
    classic = changed(DETECTOR, heads=heads(box="fc2", amodal_mask=False))
    weights, variables, result, report = started(classic, ASN)
    assert_report_is_what_happened(weights, variables, result, report)
    assert report.new["box_head/convolutions/conv1"] == "not in the weights"
    assert report.new["box_head/fc"] == "not in the weights"
    assert report.new["box_predictor/cls_score"] == "behind box_head/convolutions/conv1"
    assert report.new["occlusion_head/convolutions/conv1"] == "not in the weights"
    assert report.by_class.keys() == {f"{head}_mask_head/mask_fcn_logits" for head in ("amodal", "inmodal")}
    assert set(report.left) == {
        "box_head/fc6",
        "box_head/fc7",
        "box_predictor/bbox_pred",
        "box_predictor/cls_score",
    }
    assert report.lines() == [
        "taken: backbone, fpn, rpn_head, amodal_mask_head (from inmodal_mask_head), inmodal_mask_head",
        "taken by class: amodal_mask_head/mask_fcn_logits (from inmodal_mask_head), inmodal_mask_head/mask_fcn_logits: "
        "cyclist from bicycle, pedestrian from person, car, tram from train, truck, van from bus",
        "made anew: box_head (not in the weights), box_predictor/cls_score (behind box_head/convolutions/conv1), "
        "box_predictor/bbox_pred (behind box_head/convolutions/conv1), occlusion_head (not in the weights), "
        "occlusion_predictor (not in the weights), amodal_mask_head/mlc (not in the weights), "
        "inmodal_mask_head/mlc (not in the weights)",
        "left: box_head, box_predictor/bbox_pred, box_predictor/cls_score",
    ]


def test_a_backbone_starts_the_backbone():
    weights = {name: {"backbone": tree["backbone"]} for name, tree in random_variables(DETECTOR, 1).items()}
    variables = random_variables(ASN, 2)
    result, report = transfer(weights, changed(DETECTOR, class_names=()), variables, ASN)
    assert_report_is_what_happened(weights, variables, result, report)
    assert {layer.partition("/")[0] for layer in report.taken} == {"backbone"}
    assert set(report.new.values()) == {"not in the weights"}
    assert report.left == ()


def test_the_same_network_is_taken_whole():
    weights, _, result, report = started(ASN, ASN)
    assert not report.new
    assert report.left == ()
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(weights), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_asn_of_other_classes_starts_an_asn():
    other = changed(ASN, class_names=("cube", "car", "ball"))
    _, _, _, report = started(other, ASN)
    assert not report.new
    assert report.classes == {"car": "car"}
    _, _, _, report = started(changed(ASN, class_names=("cube", "ball")), ASN)
    assert set(report.new) == {layer for layer in report.new if layer.endswith(("cls_score", "bbox_pred", "_logits"))}
    assert set(report.new.values()) == {"none of the classes in the weights"}


def test_a_branch_is_taken_up_to_the_first_layer_that_does_not_fit():
    _, _, _, report = started(DETECTOR, changed(ASN, heads=heads(fc_channels=8)))
    assert report.taken["box_head/convolutions/conv4"]
    assert report.new["box_head/fc"] == "kernel is (784, 16) in the weights and (784, 8) here"
    assert report.new["box_predictor/bbox_pred"] == "behind box_head/fc"
    _, _, _, report = started(DETECTOR, changed(ASN, fpn_channels=8))
    assert report.new["fpn/inner1"] == "kernel is (1, 1, 8, 16) in the weights and (1, 1, 8, 8) here"
    assert {layer.partition("/")[0] for layer in report.taken} == {"backbone"}
    assert report.new["rpn_head/conv"] == report.new["amodal_mask_head/mask_fcn_logits"] == "behind fpn/inner1"


def test_a_layer_less_than_the_weights_have_ends_a_branch():
    two = dataclasses.replace(DETECTOR.model.rpn, convolutions=2)
    _, _, _, report = started(changed(DETECTOR, rpn=two), ASN)
    assert report.taken["rpn_head/conv"]
    assert report.new["rpn_head/cls_logits"] == "behind rpn_head/conv2 in the weights"
    _, _, _, report = started(DETECTOR, changed(ASN, rpn=two))
    assert report.new["rpn_head/conv2"] == "not in the weights"
    assert report.new["rpn_head/cls_logits"] == "behind rpn_head/conv2"


def test_another_place_of_mlc_starts_anew():
    _, _, _, report = started(changed(ASN, mlc=MLCConfig(box_layer=2)), ASN)
    assert set(report.new.values()) == {"of another model.mlc in the weights"}
    assert all("/mlc/" in layer for layer in report.new)


def test_branches_with_another_normalisation_start_anew():
    _, _, _, report = started(DETECTOR, changed(ASN, heads=heads(norm="group_norm")))
    assert report.new["fpn/inner1"] == "has bias, kernel in the weights and kernel here"
    assert {layer.partition("/")[0] for layer in report.taken} == {"backbone"}


def test_frozen_norms_are_worked_into_the_convolutions():
    normalised = changed(DETECTOR, heads=heads(norm="frozen_batch_norm", amodal_mask=False))
    weights, _, result, report = started(normalised, ASN)
    assert not any(layer.endswith("_norm") and not layer.startswith("backbone") for layer in report.left)
    for layer in ("fpn/layer1", "box_head/convolutions/conv1", "amodal_mask_head/mask_fcn4"):
        assert layer in report.taken
    rng = np.random.default_rng(0)
    stages = tuple(jnp.asarray(rng.normal(size=(1, 16 >> i, 16 >> i, 8 << i)).astype(np.float32)) for i in range(4))
    weights, result = jax.tree.map(jnp.asarray, (weights, result))
    of_weights = {name: tree["fpn"] for name, tree in weights.items()}
    expected = FPN(16, norm="frozen_batch_norm").apply(of_weights, stages)
    found = FPN(16).apply({"params": result["params"]["fpn"]}, stages)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(jnp.abs(other).max()))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"depth": 50}, "model.backbone.depth = 18, not 50; .* --model.backbone.depth 18"),
        ({"width": 16}, "model.backbone.width = 8, not 16"),
        ({"norm": "group_norm"}, "model.backbone.norm = frozen_batch_norm, not group_norm"),
    ],
)
def test_another_backbone_is_refused(backbone, message):
    with pytest.raises(CheckpointError, match=message):
        transfer({}, DETECTOR, {}, changed(ASN, backbone=dataclasses.replace(BACKBONE, **backbone)))


CAFFE = changed(
    DETECTOR,
    input=InputConfig(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channel_order="bgr", short_side=600, long_side=1000),
    backbone=dataclasses.replace(BACKBONE, stride_in_1x1=True, frozen_stages=3),
    anchors=AnchorConfig(sizes=(4.0, 8.0, 16.0, 32.0, 64.0), aspect_ratios=(1.0,), rounded=False, fitted_strides=False),
    rpn=RPNConfig(convolutions=2, pre_nms_test=7),
    roi=RoIConfig(batch_size=8, aligned=True, box_weights=(1.0, 2.0, 3.0, 4.0)),
)


BACKBONE_FIELDS = (
    "model.input.mean",
    "model.input.std",
    "model.input.channel_order",
    "model.backbone.stride_in_1x1",
)
DETECTOR_FIELDS = (
    "model.anchors.sizes",
    "model.anchors.aspect_ratios",
    "model.anchors.rounded",
    "model.anchors.fitted_strides",
    "model.rpn.convolutions",
    "model.roi.aligned",
    "model.roi.box_weights",
)


def value(config, name):
    for field in name.split("."):
        config = getattr(config, field)
    return config


def test_what_weights_expect_is_taken_over_and_nothing_else():
    adopted = adopt_settings(ASN, CAFFE)
    for name in BACKBONE_FIELDS + DETECTOR_FIELDS:
        assert value(adopted, name) == value(CAFFE, name) != value(ASN, name), name
    back = adopted
    for name in BACKBONE_FIELDS + DETECTOR_FIELDS:
        section, field = name.split(".")[1:]
        part = dataclasses.replace(getattr(back.model, section), **{field: value(ASN, name)})
        back = changed(back, **{section: part})
    assert back == ASN


def test_a_backbone_expects_less():
    adopted = adopt_settings(ASN, changed(CAFFE, class_names=()))
    assert all(value(adopted, name) == value(CAFFE, name) for name in BACKBONE_FIELDS)
    assert all(value(adopted, name) == value(ASN, name) for name in DETECTOR_FIELDS)


def test_what_the_weights_expect_otherwise_is_said():
    config = changed(adopt_settings(ASN, CAFFE), roi=dataclasses.replace(CAFFE.model.roi, aligned=False))
    _, _, _, report = started(CAFFE, config)
    assert report.settings == {"model.roi.aligned": (False, True)}
    assert report.lines()[-1] == "model.roi.aligned is false, though the weights expect true"


def test_names_of_classes():
    def classes(old, new):
        _, _, _, report = started(changed(DETECTOR, class_names=old), changed(ASN, class_names=new))
        return report.classes

    cityscapes = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    kins = Config().model.class_names
    assert classes(cityscapes, kins)["cyclist"] == "rider"
    assert classes(kins, cityscapes) == {
        "person": "pedestrian",
        "rider": "cyclist",
        "car": "car",
        "truck": "truck",
        "bus": "van",
        "train": "tram",
    }
    # A class of the same name comes first, and no class starts two.
    assert classes(("person",), ("pedestrian", "person")) == {"person": "person"}
