import math
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import EvaluationConfig
from amodal_jax.errors import WeightsError
from amodal_jax.models.layers import FrozenBatchNorm
from amodal_jax.weights.convert import convert_weights
from amodal_jax.weights.files import read_weights
from amodal_jax.weights.layouts import detectron2
from amodal_jax.weights.layouts.layout import Layout
from tests.helpers.layout_table import arrays_of, network_shapes, shapes_of
from tests.helpers.seeded_weights import seeded_weight

LAYOUTS = {layout.title: layout for layout in detectron2.LAYOUTS}
NORMALISED, AFFINE = LAYOUTS["MSRA's R-50.pkl of detectron2"], LAYOUTS["MSRA's R-50.pkl of Detectron"]
DETECTOR = LAYOUTS["detectron2's mask_rcnn_R_50_FPN"]
DEPTHS = (50, 50, 101, 101, 50, 101)


def seeded(layout: Layout) -> dict[str, np.ndarray]:
    sources = layout.sources(3 if layout.class_scores else 0)
    return {name: seeded_weight(name, array.shape) for name, array in arrays_of(sources).items()}


@pytest.fixture(scope="module")
def normalised():
    return seeded(NORMALISED)


@pytest.fixture(scope="module")
def detector():
    return seeded(DETECTOR)


def test_detectors_paste_as_detectron2_and_keep_its_100_detections_of_an_image():
    detectors = [layout for layout in detectron2.LAYOUTS if layout.class_scores]
    assert len(detectors) == 2
    for layout in detectors:
        assert layout.config.evaluation == EvaluationConfig(max_detections=100, mask_paste="pixel_centres")


@pytest.mark.parametrize("layout", detectron2.LAYOUTS, ids=lambda layout: layout.title)
def test_a_layout_makes_every_variable_of_its_network(layout):
    assert shapes_of(layout.sources(3 if layout.class_scores else 0)) == network_shapes(layout)


@pytest.mark.parametrize(("layout", "depth"), list(zip(detectron2.LAYOUTS, DEPTHS, strict=True)))
def test_what_the_weights_expect(layout, depth):
    """With pixels from 0 to 255 our normalisation is detectron2's, a subtraction."""
    model = layout.config.model
    assert (model.backbone.depth, model.backbone.stride_in_1x1, model.input.channel_order) == (depth, True, "bgr")
    pixels = np.array([0.0, 100.0, 255.0])
    ours = (pixels / 255 - np.array(model.input.mean)) / np.array(model.input.std)
    np.testing.assert_allclose(ours, pixels - [103.53, 116.28, 123.675], rtol=1e-12)
    if layout.class_scores:
        assert model.roi.aligned
        assert (model.anchors.rounded, model.anchors.fitted_strides) == (False, False)
        assert (model.rpn.pre_nms_test, model.rpn.post_nms_test, model.rpn.post_nms_train) == (1000, 1000, 1000)


@pytest.mark.parametrize("depth", [50, 101])
def test_parameter_counts(depth):
    """Those that torchvision publishes, without the outputs that COCO's unused ids have there, nor the background's."""
    expected = 44_401_393 - (91 - 81) * 1025 - 4 * (91 - 80) * 1025 - (91 - 80) * 257
    if depth == 101:
        expected += 17 * (1024 * 256 + 9 * 256 * 256 + 256 * 1024)  # blocks of the third stage
    sources = LAYOUTS[f"detectron2's mask_rcnn_R_{depth}_FPN"].sources(80)
    read = {name: shape for one in sources.values() for name, shape in one.reads.items() if ".norm." not in name}
    assert sum(math.prod(shape) for shape in read.values()) == expected


def test_labels_are_the_80_classes():
    names = detectron2.COCO_CLASS_NAMES
    assert len(names) == len(set(names)) == 80
    assert [names[index] for index in (0, 2, 5, 6, 7, 79)] == ["person", "car", "bus", "train", "truck", "toothbrush"]


@pytest.mark.parametrize("layout", detectron2.LAYOUTS, ids=lambda layout: layout.title)
def test_each_is_recognised_by_its_names(layout):
    arrays = arrays_of(layout.sources(4 if layout.class_scores else 0))
    useless = {"pixel_mean": np.float32([103.53, 116.28, 123.675]).reshape(3, 1, 1), "pixel_std": np.ones((3, 1, 1))}
    useless |= {f"proposal_generator.anchor_generator.cell_anchors.{i}": np.ones((3, 4)) for i in range(5)}
    if not layout.class_scores:
        useless = {"fc1000_w": np.ones((1000, 2048)), "fc1000_b": np.ones(1000), "conv1_b": np.ones(64)}
        useless["conv1_w_momentum"] = np.ones((64, 3, 7, 7))
    made = convert_weights(arrays | useless, source="these")
    assert made.layout is layout
    assert made.config.model.input == layout.config.model.input
    assert set(made.unread) == set(useless)


def test_msras_files_are_the_backbone_of_the_detector(normalised, tmp_path):
    """The names of Caffe2 and those of detectron2's modules are two of the same values."""
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(normalised | {"fc1000_w": np.ones((1000, 2048), np.float32)}, protocol=2))
    made = convert_weights(read_weights(path), source="these")
    assert made.config.model.class_names == ()
    renamed = {
        "res2_0_branch2a_w": ("params", "layer1_0", "conv1", "kernel"),
        "res4_5_branch2b_w": ("params", "layer3_5", "conv2", "kernel"),
        "res5_2_branch2c_w": ("params", "layer4_2", "conv3", "kernel"),
        "res3_0_branch1_w": ("params", "layer2_0", "downsample_conv", "kernel"),
        "res3_0_branch1_bn_gamma": ("frozen", "layer2_0", "downsample_norm", "scale"),
        "res3_0_branch1_bn_beta": ("frozen", "layer2_0", "downsample_norm", "bias"),
        "res3_0_branch1_bn_running_mean": ("frozen", "layer2_0", "downsample_norm", "mean"),
        "res5_1_branch2b_bn_running_var": ("frozen", "layer4_1", "bn2", "var"),
        "res_conv1_bn_beta": ("frozen", "bn1", "bias"),
        "conv1_w": ("params", "conv1", "kernel"),
    }
    for name, (collection, *place) in renamed.items():
        array = made.variables[collection]["backbone"]
        for key in place:
            array = array[key]
        expected = normalised[name]
        np.testing.assert_array_equal(array, expected.transpose(2, 3, 1, 0) if expected.ndim == 4 else expected)


def test_an_affine_layer_is_a_batch_norm():
    weights = seeded(AFFINE)
    rng = np.random.default_rng(0)
    # Values of MSRA's kind, some of which a wrong epsilon would move.
    weights["res3_0_branch2a_bn_s"] = np.geomspace(1e-3, 100, 128).astype(np.float32)
    frozen = convert_weights(weights, source="these").variables["frozen"]["backbone"]["layer2_0"]["bn1"]
    inputs = rng.normal(size=(1, 2, 3, 128)).astype(np.float32)
    outputs = FrozenBatchNorm().apply({"frozen": frozen}, jnp.asarray(inputs))
    expected = inputs * weights["res3_0_branch2a_bn_s"] + weights["res3_0_branch2a_bn_b"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


def test_the_background_is_the_last_class_there_and_the_first_here(detector):
    made = convert_weights(detector, source="these", class_names=["a", "b", "c"])
    predictor, head = (made.variables["params"][name] for name in ("box_predictor", "inmodal_mask_head"))
    scores = detector["roi_heads.box_predictor.cls_score.weight"]
    deltas = detector["roi_heads.box_predictor.bbox_pred.bias"]
    masks = detector["roi_heads.mask_head.predictor.weight"]
    assert (len(scores), len(deltas), len(masks)) == (4, 12, 3)
    np.testing.assert_array_equal(predictor["cls_score"]["kernel"].T, scores[[3, 0, 1, 2]])
    np.testing.assert_array_equal(
        predictor["cls_score"]["bias"], detector["roi_heads.box_predictor.cls_score.bias"][[3, 0, 1, 2]]
    )
    np.testing.assert_array_equal(predictor["bbox_pred"]["bias"], [0, 0, 0, 0, *deltas])
    np.testing.assert_array_equal(
        predictor["bbox_pred"]["kernel"][:, 4:].T, detector["roi_heads.box_predictor.bbox_pred.weight"]
    )
    assert not predictor["bbox_pred"]["kernel"][:, :4].any()
    kernel = head["mask_fcn_logits"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 0, :, 1:].T, masks[:, :, 0, 0])
    assert not kernel[..., 0].any()


def test_the_normalisation_that_a_file_holds(detector):
    """A network that was trained from torchvision's ResNet says so by its pixels."""
    rgb = {
        "pixel_mean": np.float32([123.675, 116.28, 103.53]).reshape(3, 1, 1),
        "pixel_std": np.float32([58.395, 57.12, 57.375]).reshape(3, 1, 1),
    }
    model = convert_weights(detector | rgb, source="these").config.model
    assert (model.input.channel_order, model.backbone.stride_in_1x1) == ("rgb", False)
    assert model.input.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-3)
    assert model.input.std == pytest.approx((0.229, 0.224, 0.225), abs=1e-3)
    for wrong in (np.float32([100, 100, 100]), np.float32([128])):
        with pytest.raises(WeightsError, match="these: pixel_mean"):
            convert_weights(detector | {"pixel_mean": wrong}, source="these")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone.fpn_lateral2.norm.weight": np.ones(256)},
            r"nearest is detectron2's mask_rcnn_R_50_FPN, with .*norm",
        ),
        ({"roi_heads.mask_head.predictor.bias": None}, r"1 array \(roi_heads.mask_head.predictor.bias\) missing"),
        (
            {
                "roi_heads.box_predictor.bbox_pred.weight": np.ones((4, 1024)),
                "roi_heads.box_predictor.bbox_pred.bias": np.ones(4),
            },
            r"bbox_pred.weight is \(4, 1024\), not \(12, 1024\)",
        ),
    ],
)
def test_other_networks_of_detectron2_are_refused(detector, change, message):
    """With normalised branches, without masks, with boxes common to all classes."""
    weights = {name: array for name, array in (detector | change).items() if array is not None}
    with pytest.raises(WeightsError, match=message):
        convert_weights(weights, source="these")
