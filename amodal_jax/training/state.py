"""The state of a training: made, or found in the run's last checkpoint."""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amodal_jax.config import Config
from amodal_jax.files.atomic import write_atomically
from amodal_jax.network import Network, Variables, initialise
from amodal_jax.runs.checkpoint_reader import load_variables, restore_last
from amodal_jax.weights.transfer import transfer


@struct.dataclass
class TrainState:
    """Everything that a step changes, whole on each device."""

    step: Any  # int32 [], steps done; under lowering what describes it
    params: Any
    frozen: Any  # the collection "frozen" of the variables; empty with GroupNorm
    optimizer_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """As `Network.apply` takes them."""
        return {"params": self.params} | ({"frozen": self.frozen} if self.frozen else {})


def create_state(variables: Variables, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        frozen=variables.get("frozen", {}),
        optimizer_state=optimizer.init(variables["params"]),
    )


def first_state(
    config: Config,
    workdir: Path,
    init: str | Path | None,
    network: Network,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Any] | None, dict[str, float] | None]:
    """The state to start from, and what belongs to it: the position of the data, and the figures not logged yet."""

    def from_scratch() -> Variables:
        return initialise(network, config, jax.random.key(config.train.seed))

    shapes = jax.eval_shape(lambda: create_state(from_scratch(), optimizer))
    checkpoint = restore_last(workdir, shapes.variables, shapes.optimizer_state)
    if checkpoint is None:
        variables = from_scratch()
        if init is not None:
            variables = started_from(init, variables, config, workdir)
        return create_state(variables, optimizer), None, None
    if jax.process_index() == 0:
        print(f"going on from step {checkpoint.step} of {workdir}", file=sys.stderr)
    state = TrainState(
        step=jnp.int32(checkpoint.step),
        params=checkpoint.variables["params"],
        frozen=checkpoint.variables.get("frozen", {}),
        optimizer_state=checkpoint.optimizer_state,
    )
    return state, checkpoint.position, checkpoint.unlogged


def started_from(init: str | Path, variables: Variables, config: Config, workdir: Path) -> Variables:
    """The first variables with the weights of another run; says what became of them, also in `init.json`."""
    weights_config, weights = load_variables(init)
    variables, report = transfer(weights, weights_config, variables, config)
    if jax.process_index() == 0:
        for line in [f"started from {init}", *report.lines()]:
            print(f"init: {line}", file=sys.stderr)
        content = {"checkpoint": str(init), **report.as_dict()}
        write_atomically(workdir / "init.json", json.dumps(content, indent=2) + "\n")
    return variables
