"""The step that every device runs.

Shape shorthand in this module: N local devices, b images a device.

Each device takes its share of the global batch's loss terms: sums over its images, divided by counts over all devices.
Shares and their gradients are added up, so that a step is the same but for rounding however the batch is spread. The
random key of an image is a function of the seed, the step and the image's place in the global batch, for the same
reason.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from amodal_jax import losses
from amodal_jax.config import Config
from amodal_jax.network import Network
from amodal_jax.structures import Batch
from amodal_jax.training.optimizer import learning_rate_schedule
from amodal_jax.training.state import TrainState

Metrics = dict[str, Array | float]


def train_step(
    state: TrainState,
    batch: Batch,
    stop_request: Int[Array, ""],
    *,
    network: Network,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    seed: int,
) -> tuple[TrainState, Metrics]:
    """One step on one device of the axis "batch".

    Args:
      state: the same on each device.
      batch: the device's b images.
      stop_request: 1 where this process was asked to end, else 0.
      network: the network.
      optimizer: of its parameters.
      schedule: the learning rate, for the figures.
      seed: of the sampling of anchors and regions.

    Returns:
      The next state and the figures of the step, the same on each device: `loss` and its terms over the global batch,
      `gradient_norm`, `learning_rate`, and `stop_requests`, the sum over the devices.
    """
    images = batch.images.shape[0]
    step_key = jax.random.fold_in(jax.random.key(seed), state.step)
    places = jax.lax.axis_index("batch") * images + jnp.arange(images)
    keys = jax.vmap(lambda place: jax.random.fold_in(step_key, place))(places)

    def loss_share(params):
        variables = dataclasses.replace(state, params=params).variables
        terms: Any = network.apply(variables, batch, keys, method="losses")
        shares = {name: losses.mean(term, "batch") for name, term in terms.items()}
        return sum(shares.values()), shares

    gradients, shares = jax.grad(loss_share, has_aux=True)(state.params)
    gradients, terms, stop_requests = jax.lax.psum((gradients, shares, stop_request), "batch")
    updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
    metrics = {
        "loss": sum(terms.values()),
        **terms,
        "gradient_norm": optax.global_norm(gradients),
        "learning_rate": jnp.asarray(schedule(state.step)),
        "stop_requests": stop_requests,
    }
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        optimizer_state=optimizer_state,
    )
    return state, metrics


def parallel_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    config: Config,
    *,
    devices: list[jax.Device] | None = None,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
    """`train_step` on all devices of all processes, or on those given.

    The state has no device axis and is used up; batch and stop requests have this process's N devices in front:
    images [N, b, H, W, 3] and so on.
    """

    def step(state, batch, stop_request):
        return train_step(
            state,
            batch,
            stop_request,
            network=network,
            optimizer=optimizer,
            schedule=learning_rate_schedule(config.train),
            seed=config.train.seed,
        )

    return jax.pmap(
        step, axis_name="batch", in_axes=(None, 0, 0), out_axes=(None, None), donate_argnums=0, devices=devices
    )
