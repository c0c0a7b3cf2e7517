"""What the tests of every layout ask of its table."""

import dataclasses

import jax
import numpy as np

from amodal_jax.config import MLCConfig, OcclusionConfig
from amodal_jax.network import build_network, initialise
from amodal_jax.weights.layouts.layout import Layout, Sources
from tests.helpers.micro import micro_config


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
    variables = jax.eval_shape(lambda: initialise(build_network(config), config, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    shapes = {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}
    return {path: shape for path, shape in shapes.items() if layout.class_scores or path.split("/")[1] == "backbone"}
