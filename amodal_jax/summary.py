"""A network's branches with their parameters, without running it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from amodal_jax.config import Config
from amodal_jax.network import build_network, initialise


@dataclasses.dataclass(frozen=True)
class Part:
    """A run of layers of a network."""

    name: str
    """The path of the layers in the network; for one that lies within another, its last name, indented."""
    parameters: int
    """Trainable values."""
    frozen: int
    """Values of frozen batch norm."""


def summarise(config: Config) -> list[Part]:
    """The branches of a configuration's network in the order of the data, then their sum.

    A branch within another, as an MLC, is counted within it and once more by itself. A configuration without class
    names, which takes the dataset's, is described with one class.
    """
    config = with_a_class(config)
    network = build_network(config)
    variables = jax.eval_shape(lambda: initialise(network, config, jax.random.key(0)))
    parts = []
    for branch in network.branches:
        outer, _, inner = branch.name.partition("/")
        name = f"  of it {inner}" if inner else outer
        parts.append(Part(name, *(_size(variables.get(kind, {}), branch.name) for kind in ("params", "frozen"))))
    return [*parts, Part("all", *(_count(variables.get(kind, {})) for kind in ("params", "frozen")))]


def with_a_class(config: Config) -> Config:
    """The configuration, with one class where it names none."""
    names = config.model.class_names or ("class_1",)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=names))


def _count(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def _size(tree: Any, path: str) -> int:
    for name in path.split("/"):
        tree = tree.get(name, {})
    return _count(tree)
