import dataclasses
import math

import jax
import numpy as np
import pytest

from amodal_jax.build import build_detector, initialise
from amodal_jax.config import MLCConfig, OcclusionConfig
from amodal_jax.layouts import torchvision
from amodal_jax.layouts.layout import Layout, Sources
from tests.micro import micro_config

COUNTS = (44_401_393, 44_401_393, 46_359_409)  # of torchvision's published weights


def arrays_of(sources: Sources) -> dict[str, np.ndarray]:
    """Arrays of the right names and shapes, without memory of their own."""
    return {
        name: np.broadcast_to(np.float32(0.5), shape) for one in sources.values() for name, shape in one.reads.items()
    }


def shapes_of(sources: Sources) -> dict[str, tuple[int, ...]]:
    """Of our variables, as their sources make them."""
    return {
        path: one.make(*(np.broadcast_to(np.float32(0), shape) for shape in one.reads.values())).shape
        for path, one in sources.items()
    }


def network_shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Of the variables of the layout's network, for three classes."""
    model = dataclasses.replace(layout.config.model, class_names=("a", "b", "c"))
    if layout.class_scores is None:  # any network that does without much more than the backbone
        model = dataclasses.replace(model, occlusion=OcclusionConfig(enabled=False), mlc=MLCConfig(enabled=False))
    config = dataclasses.replace(micro_config(), model=model)
    variables = jax.eval_shape(lambda: initialise(build_detector(config), config, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    shapes = {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}
    return {path: shape for path, shape in shapes.items() if layout.class_scores or path.split("/")[1] == "backbone"}


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
