"""A configuration's network with random parameters, and its training step and inference, compiled.

Shape shorthand: N local devices, b images a device.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from amodal_jax.network import Variables, build_network, initialise
from amodal_jax.structures import Batch
from amodal_jax.training.optimizer import make_optimizer
from amodal_jax.training.state import TrainState, create_state
from amodal_jax.training.step import parallel_train_step
from scripts.benchmarks.example import Example, draw_example, make_batch

PEAK_FLOPS = 790e12  # of one H200 in bfloat16, measured: what a share of the floor refers to
BRANCH_SCALE = 0.3  # of the last normalisation in each residual block


def draw_examples(config: Config) -> list[Example]:
    """As many as a step takes, of images as large as the canvas."""
    data, classes = config.data, len(config.model.class_names)
    return [
        draw_example(data.canvas_height, data.canvas_width, classes, seed) for seed in range(config.train.batch_size)
    ]


def random_variables(config: Config) -> Variables:
    """Random parameters with activations of a trained network's magnitude.

    Frozen batch norm starts as the identity, so that each residual block would double the variance.
    """
    variables = initialise(build_network(config), config, jax.random.key(config.train.seed))
    last = "bn3" if config.model.backbone.depth > 18 else "bn2"
    for name, block in variables.get("frozen", {}).get("backbone", {}).items():
        if name.startswith("layer"):
            block[last]["scale"] = block[last]["scale"] * BRANCH_SCALE
    return variables


class TrainingStep:
    """The training loop's own step, on all local devices: to be lowered, compiled, and called."""

    def __init__(self, config: Config, examples: list[Example]):
        devices = jax.local_devices()
        network = build_network(config)
        optimizer = make_optimizer(config.train, frozen=network.frozen)
        self.state: TrainState = on_every_device(create_state(random_variables(config), optimizer))
        self.metrics: dict[str, float] = {}
        self._batch = split_over_devices(make_batch(examples, config))
        self._stop = np.zeros(len(devices), np.int32)
        self._step: Any = parallel_train_step(network, optimizer, config)

    def lower(self) -> Any:
        """Traced and lowered, not compiled."""
        return self._step.lower(self.state, self._batch, self._stop)

    def call(self, compiled: Any) -> None:
        """One step of what was lowered and compiled, waited for. `metrics` gets its figures."""
        self.state, metrics = compiled(self.state, self._batch, self._stop)
        self.metrics = {name: float(value) for name, value in jax.block_until_ready(metrics).items()}


class Inference:
    """`Network.detect` on all local devices, as the evaluation calls it: to be lowered, compiled, and called."""

    def __init__(self, config: Config, examples: list[Example]):
        self._variables = on_every_device(random_variables(config))
        batch = split_over_devices(make_batch(examples, config))
        self._images, self._sizes = batch.images, batch.sizes
        detect = functools.partial(build_network(config).apply, method="detect")
        self._detect: Any = jax.pmap(detect, in_axes=(None, 0, 0), devices=jax.local_devices())
        self.detections: Any = None

    def lower(self) -> Any:
        """Traced and lowered, not compiled."""
        return self._detect.lower(self._variables, self._images, self._sizes)

    def call(self, compiled: Any) -> None:
        """One batch through what was lowered and compiled, waited for. `detections` gets what was found."""
        self.detections = jax.block_until_ready(compiled(self._variables, self._images, self._sizes))


def floating_point_operations(lowered: Any) -> float:
    """Of one call on one device, as XLA counts them, bodies of loops once."""
    analysis = lowered.cost_analysis()
    return float((analysis[0] if isinstance(analysis, list) else analysis)["flops"])


def speed_facts(flops: float, seconds: float) -> dict[str, float]:
    """The rate of arithmetic; on a GPU also the share of what an H200 does at most."""
    facts = {"TFLOP a device and call": flops / 1e12, "TFLOP/s a device": flops / seconds / 1e12}
    if jax.default_backend() == "gpu":
        facts[f"share of {PEAK_FLOPS / 1e12:.0f} TFLOP/s"] = flops / seconds / PEAK_FLOPS
    return facts


def on_every_device(tree: Any) -> Any:
    """Arrays whole on each local device."""
    mesh = Mesh(np.array(jax.local_devices()), "batch")
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_over_devices(batch: Batch) -> Batch:
    """With a leading device axis, on the devices."""
    devices = jax.local_devices()
    count = len(batch.images)
    if count % len(devices):
        raise ConfigError(f"--batch-size is {count}, which {len(devices)} devices cannot share evenly")
    batch = jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), batch)
    return jax.device_put(batch, NamedSharding(Mesh(np.array(devices), "batch"), PartitionSpec("batch")))
