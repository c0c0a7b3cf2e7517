"""A network's branches with their parameters, without running it."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from amodal_jax.config import Config
from amodal_jax.network import build_network, empty_batch, initialise


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


def layers(config: Config, depth: int, *, width: int = 160) -> str:
    """The network's modules as a table, with the shapes of what goes into each and comes out, and its parameters.

    They are those of an image on the configuration's canvases, in training. Nothing is computed. As in `summarise`,
    there is one class where the configuration names none.

    Args:
      config: the network's.
      depth: how many modules within each other are shown: 1 is the branches, 2 their layers.
      width: characters of a line.
    """
    config = with_a_class(config)
    network = build_network(config)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{type(network).__name__} is no Flax module")
    key = jax.random.key(0)
    tabulate = nn.tabulate(network, key, depth=depth, console_kwargs={"width": width, "force_terminal": False})
    return tabulate(empty_batch(config), key[None], method="losses").strip("\n")


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
