"""What training, evaluation, prediction and export know of a network, and how one is made from a configuration."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.records import PACKED_CROP_SHAPE
from amodal_jax.structures import Batch, Detections, GroundTruth

Variables = dict[str, Any]
"""Flax variables: "params" and, with frozen batch norm, "frozen"."""


@runtime_checkable
class Network(Protocol):
    """A Flax module that finds objects; nobody outside of it asks for more than this.

    Shape shorthand: B images, H x W canvas of native pixels. `losses` and `detect` are called through `apply`. What is
    drawn in a step comes from its keys alone. Every parameter is reached by `losses`.
    """

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """The kinds of masks that it predicts, of "amodal" and "inmodal"."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the paths of the parameters begin that are not trained, "backbone/conv1"."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers, each behind those that its inputs come through."""

    @property
    def summary(self) -> str:
        """What it is, in one line."""

    def losses(self, batch: Batch, keys: Key[Array, " B"]) -> dict[str, Mean]:
        """The loss terms of a batch by name; `keys` [B], one for what is drawn of each image."""

    def detect(self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"]) -> Detections:
        """The objects of images of true (height, width) `sizes`; boxes in their own pixels."""

    def __hash__(self) -> int:
        """Networks of equal settings are equal, so that what is compiled for one serves the other."""

    def apply(self, variables: Variables, *arguments: Any, method: Any) -> Any:
        """Calls a method with these variables, as Flax does."""

    def init(self, key: Array, *arguments: Any, method: Any) -> Variables:
        """The first variables, as Flax draws them."""


def build_network(config: Config, input_size: tuple[int, int] | None = None) -> Network:
    """The network of a configuration.

    Args:
      config: its `model` and `evaluation` sections are read.
      input_size: height and width of the network's input canvas, multiples of 32, instead of the configuration's; the
        parameters are the same for every size.

    Raises:
      ConfigError: the configuration names no classes.
    """
    model = config.model
    if not model.class_names:
        raise ConfigError("model.class_names is empty: name the classes, or train on a dataset, which fills it in")
    if input_size is not None:
        canvas = dataclasses.replace(model.input, height=input_size[0], width=input_size[1])
        model = dataclasses.replace(model, input=canvas)
    return model.network.build(model, config.evaluation)


def initialise(network: Network, config: Config, key: jax.Array) -> Variables:
    """Random parameters, drawn from `key`; convolutions by MSRA's rule, dense layers by Xavier's."""
    batch = empty_batch(config)
    # Under jit the forward pass that names the parameters is dead code and costs nothing.
    initialise_all = jax.jit(lambda key: network.init(key, batch, key[None], method="losses"))
    return initialise_all(key)


def empty_batch(config: Config) -> Batch:
    """A black image without objects on the canvas of a configuration, which shows a network its inputs' shapes."""
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
            cluster=np.full((1, slots), -1, np.int32),
            order=np.full((1, slots), -1, np.int32),
            valid=np.zeros((1, slots), bool),
            crowd=np.zeros((1, slots), bool),
        ),
    )
    return jax.tree.map(jnp.asarray, batch)
