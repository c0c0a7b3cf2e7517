import math

import numpy as np
import pytest

from amodal_jax.config import EvaluationConfig
from amodal_jax.weights.layouts import torchvision
from tests.helpers.layout_table import arrays_of, network_shapes, shapes_of

COUNTS = (44_401_393, 44_401_393, 46_359_409)  # of torchvision's published weights


@pytest.mark.parametrize("layout", torchvision.LAYOUTS, ids=lambda layout: layout.title)
def test_a_layout_makes_every_variable_of_its_network(layout):
    assert shapes_of(layout.sources(3 if layout.class_scores else 0)) == network_shapes(layout)


@pytest.mark.parametrize(("layout", "count"), list(zip(torchvision.DETECTORS, COUNTS, strict=True)))
def test_parameter_counts_are_those_that_torchvision_publishes(layout, count):
    """Its first version counts no batch norm, which is frozen there."""
    v2 = layout is torchvision.DETECTORS[2]
    sources = layout.sources(len(torchvision.COCO_CLASS_NAMES))
    counted = [shape for path, shape in shapes_of(sources).items() if path.startswith("params/")]
    if v2:
        counted += [shape for path, shape in shapes_of(sources).items() if path.endswith(("/scale", "/bias"))]
        counted = [shape for path, shape in shapes_of(sources).items() if not path.endswith(("/mean", "/var"))]
    assert sum(math.prod(shape) for shape in counted) == count


def test_names_are_read_whatever_the_number_of_classes():
    for layout in torchvision.DETECTORS:
        assert set(arrays_of(layout.sources(1))) == set(arrays_of(layout.sources(90)))


def test_no_array_is_read_twice():
    for layout in torchvision.LAYOUTS:
        sources = layout.sources(5)
        assert sum(len(one.reads) for one in sources.values()) == len(arrays_of(sources)) == len(sources)


def test_detectors_keep_torchvisions_paste_and_its_100_detections_of_an_image():
    for layout in torchvision.DETECTORS:
        assert layout.config.evaluation == EvaluationConfig(max_detections=100, mask_paste="torchvision")


def test_labels_are_cocos_ids():
    names = torchvision.COCO_CLASS_NAMES
    assert len(names) == len(set(names)) == 90
    assert [names[number - 1] for number in (1, 3, 6, 7, 8, 11, 12, 13, 90)] == [
        *("person", "car", "bus", "train", "truck", "fire hydrant", "unused 12", "stop sign", "toothbrush")
    ]


def test_the_hidden_layer_sees_cells_in_our_order():
    """A dense layer over a map gives the same whichever way the map is flattened."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(7, 7, 256)).astype(np.float32)
    weight = rng.normal(size=(1024, 256 * 7 * 7)).astype(np.float32)
    kernel = torchvision.DETECTORS[0].sources(3)["params/box_head/fc6/kernel"].make(weight)
    theirs = weight @ features.transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(features.reshape(-1) @ kernel, theirs, rtol=1e-3, atol=1e-2)
