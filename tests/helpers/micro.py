"""The smallest network and batch that exercise every part, for tests whose time is XLA's compilation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax import losses
from amodal_jax.config import (
    AnchorConfig,
    BackboneConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    HeadConfig,
    InputConfig,
    ModelConfig,
    RoIConfig,
    RPNConfig,
    TrainConfig,
)
from amodal_jax.network import Network, Variables
from amodal_jax.records import PACKED_CROP_SHAPE
from amodal_jax.structures import Batch, Detections, GroundTruth

CANVAS = (64, 96)
SLOTS = 6


def micro_config(**model_changes) -> Config:
    """An ASN with everything switched on; `model_changes` replace fields of its ModelConfig."""
    model = ModelConfig(
        fpn_channels=16,
        input=InputConfig(short_side=64, long_side=96, height=64, width=96),
        backbone=BackboneConfig(depth=18, width=8, norm="group_norm", frozen_stages=0),
        anchors=AnchorConfig(sizes=(8.0, 16.0, 32.0, 64.0, 128.0)),
        rpn=RPNConfig(batch_size=32, pre_nms_train=40, post_nms_train=30, pre_nms_test=40, post_nms_test=20),
        roi=RoIConfig(batch_size=16),
        heads=HeadConfig(fc_channels=16, channels=8),
    )
    return Config(
        name="micro",
        model=dataclasses.replace(model, **model_changes),
        data=DataConfig(canvas_height=CANVAS[0], canvas_width=CANVAS[1], max_instances=SLOTS),
        train=TrainConfig(steps=4, batch_size=2, warmup_steps=2, decay_steps=(3,), log_every=1, checkpoint_every=2),
        evaluation=EvaluationConfig(batch_size=2, max_detections=10, score_threshold=0.0),
    )


def micro_batch(images: int, seed: int = 0) -> Batch:
    """Noise images with two to five random instances each."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (images, SLOTS, 2)).astype(np.float32)
    side = rng.uniform(10, 24, (images, SLOTS, 2)).astype(np.float32)
    batch = Batch(
        images=rng.integers(0, 256, (images, *CANVAS, 3), dtype=np.uint8),
        sizes=np.stack([rng.integers(50, 65, images), rng.integers(80, 97, images)], axis=1).astype(np.int32),
        image_ids=np.arange(images, dtype=np.int32),
        valid=np.ones(images, bool),
        truth=GroundTruth(
            boxes=np.concatenate([corner, corner + side], axis=-1),
            labels=rng.integers(0, 7, (images, SLOTS)).astype(np.int32),
            occlusion_ratio=rng.random((images, SLOTS), dtype=np.float32) * 0.2,
            amodal_crops=rng.integers(0, 256, (images, SLOTS, *PACKED_CROP_SHAPE), dtype=np.uint8),
            inmodal_crops=rng.integers(0, 256, (images, SLOTS, *PACKED_CROP_SHAPE), dtype=np.uint8),
            cluster=np.ones((images, SLOTS), np.int32),
            order=np.tile(np.arange(1, SLOTS + 1, dtype=np.int32), (images, 1)),
            valid=np.arange(SLOTS) < rng.integers(2, 6, (images, 1)),
            crowd=np.zeros((images, SLOTS), bool),
        ),
    )
    return jax.tree.map(jnp.asarray, batch)


def image_keys(images: int, seed: int = 0) -> jax.Array:
    """A sampling key for each image."""
    return jax.random.split(jax.random.key(seed), images)


@functools.partial(jax.jit, static_argnums=0)
def loss_means(network: Network, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, jax.Array]:
    """The loss terms of a batch.

    All that is an array is an argument here and in what follows: XLA would take what a jitted function closes over for
    constants, and fold the whole network over them with its interpreter. And equal networks are compiled once.
    """
    return {name: losses.mean(term) for name, term in network.apply(variables, batch, keys, method="losses").items()}


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradients(
    network: Network, variables: Variables, batch: Batch, keys: jax.Array
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Variables]:
    """The loss of a batch and its terms, and the gradients by the parameters."""

    def loss(params: Variables) -> tuple[jax.Array, dict[str, jax.Array]]:
        means = loss_means(network, {**variables, "params": params}, batch, keys)
        return sum(means.values()), means

    return jax.value_and_grad(loss, has_aux=True)(variables["params"])


@functools.partial(jax.jit, static_argnums=0)
def detections(network: Network, variables: Variables, images: jax.Array, sizes: jax.Array) -> Detections:
    """What a network finds in images."""
    return network.apply(variables, images, sizes, method="detect")


def loud(variables, size=1.0):
    """Variables with large weights in the last layers: at first outputs are all but equal, whatever comes in."""

    def value(path, leaf):
        names = {key.key for key in path}
        if names & {"cls_logits", "cls_score", "bbox_pred", "occ_score", "mask_fcn_logits"} and "kernel" in names:
            return jax.random.normal(jax.random.key(leaf.size), leaf.shape) * size / np.sqrt(leaf.shape[-2])
        return leaf

    return jax.tree_util.tree_map_with_path(value, variables)
