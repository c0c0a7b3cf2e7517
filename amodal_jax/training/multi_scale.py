"""Multi-scale training: every step has one of a few sizes.

PANet and detectron2 draw a short side for every image. Here one is drawn for every step and holds for its images on all
devices: shapes are static, so that each size is a program of its own, compiled when the size is first drawn. Images
travel at their own resolution whatever the size is; the network resizes them. What is drawn depends on the seed and the
step alone, so that all processes draw alike, and a run that goes on draws what it would have drawn.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from amodal_jax.canvas import at_short_side
from amodal_jax.config import Config
from amodal_jax.network import build_network
from amodal_jax.structures import Batch
from amodal_jax.training.log import Log
from amodal_jax.training.state import TrainState
from amodal_jax.training.step import Metrics, parallel_train_step


def drawn_short_side(config: Config, step: int) -> int:
    """The short side of a training step: of `train.short_sides`, all equally likely, or `model.input.short_side`.

    Args:
      config: `train.short_sides` and `train.seed` are read, and `model.input.short_side`.
      step: the number of steps before it.
    """
    choices = config.train.short_sides
    if not choices:
        return config.model.input.short_side
    # A generator whose numbers are a function of key and counter; it takes one count for a number.
    generator = np.random.Generator(np.random.Philox(key=config.train.seed, counter=[0, 0, 0, step]))
    return choices[int(generator.integers(len(choices)))]


def at_size(config: Config, short_side: int) -> Config:
    """The configuration whose network sees images of this short side, on a canvas that holds them."""
    model_input = at_short_side(config.model.input, short_side)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, input=model_input))


class StepOfDrawnSize:
    """`parallel_train_step` in the size that is drawn for each step."""

    def __init__(self, optimizer: optax.GradientTransformation, config: Config, log: Log | None):
        """Compiles nothing yet.

        Args:
          optimizer: of the network's parameters, which are the same in every size.
          config: the experiment.
          log: of the first process.
        """
        self._optimizer = optimizer
        self._config = config
        self._log = log
        self._compiled: dict[int, Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]] = {}

    def __call__(self, step: int, state: TrainState, batch: Batch, stop_requests: Any) -> tuple[TrainState, Metrics]:
        """Takes a step; the figures of multi-scale training have its `short_side`.

        Args:
          step: the number of steps before it.
          state: is used up.
          batch: with this process's devices in front.
          stop_requests: likewise.
        """
        short_side = drawn_short_side(self._config, step)
        if short_side not in self._compiled:
            self._compiled[short_side] = self._new(step, short_side)
        state, metrics = self._compiled[short_side](state, batch, stop_requests)
        if self._config.train.short_sides:
            metrics["short_side"] = short_side
        return state, metrics

    def _new(self, step: int, short_side: int) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
        config = at_size(self._config, short_side)
        if self._log and config.train.short_sides:
            self._log.pause()
            canvas = config.model.input
            print(
                f"step {step + 1}: the first with a short side of {short_side}, on a canvas of {canvas.height} x "
                f"{canvas.width}, is compiled",
                file=sys.stderr,
            )
        return parallel_train_step(build_network(config), self._optimizer, config)
