"""The evaluations of a run: when they are due, and the best of them."""

import dataclasses
import math
import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from amodal_jax.config import Config
from amodal_jax.evaluate import EvaluationStopped, evaluate_network
from amodal_jax.evaluation.annotated import AnnotatedImages
from amodal_jax.network import Network
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_reader import best_evaluation
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.runs.directory import evaluation_folder
from amodal_jax.runs.metric_writer import logged_figures
from amodal_jax.training.log import Log
from amodal_jax.training.stop_request import StopRequest


class Evaluations:
    """Evaluates a run's checkpoints and keeps the one that evaluated best. Every process makes the same calls."""

    def __init__(
        self,
        network: Network,
        config: Config,
        workdir: Path,
        truth: AnnotatedImages | None,
        stop_request: StopRequest,
        log: Log | None,
    ):
        """Finds out what the run's best evaluation was.

        Args:
          network: of the run.
          config: of the run.
          workdir: the run directory.
          truth: the ground truth of the test split.
          stop_request: asked before each batch.
          log: of the first process.
        """
        self._network = network
        self._config = config
        self._workdir = workdir
        self._truth = truth
        self._stop_request = stop_request
        self._log = log
        self._best_score = _score_to_beat(config, workdir)
        self._best = CheckpointWriter(workdir, "best", config)

    def close(self) -> None:
        """Waits until the best checkpoint is written."""
        self._best.close()

    def are_due(self, step: int) -> bool:
        """Whether a step's state is to be evaluated."""
        every = self._config.train.evaluate_every
        return every > 0 and (step == self._config.train.steps or step % every == 0)

    def are_missing(self, step: int) -> bool:
        """Whether a step that a run goes on from is due and was not evaluated before it ended."""
        return step > 0 and self.are_due(step) and not _was_evaluated(self._workdir, step, self._best_score)

    def evaluate(self, checkpoint: Checkpoint) -> bool:
        """Evaluates a state, which is saved as the best one if it is.

        Returns:
          Whether it was evaluated; on a stop request it is not, and stays due.
        """
        try:
            figures = evaluate_network(
                self._network,
                checkpoint.variables,
                self._config,
                evaluation_folder(self._workdir, "last"),
                truth=self._truth,
                checkpoint={"directory": str(self._workdir), "kind": "last", "step": checkpoint.step},
                stop_requested=self._stop_request.requested,
            )
        except EvaluationStopped:
            return False
        if self._log:
            self._log.evaluated(checkpoint.step, figures)
        if _score(figures) > self._best_score:
            self._best_score = _score(figures)
            self._best.save(dataclasses.replace(checkpoint, metrics=figures))
        return True


def _score(metrics: dict[str, float] | None) -> float:
    """What makes an evaluation the best one: amodal AP; where there is no such branch, inmodal or box AP."""
    for name in ("amodal/AP", "inmodal/AP", "det/AP"):
        if metrics and name in metrics:
            return metrics[name]
    return -math.inf


def _score_to_beat(config: Config, workdir: Path) -> float:
    """That of the run's best checkpoint, if it was evaluated as `config` says."""
    best = best_evaluation(workdir)
    if best is None:
        return -math.inf
    before, metrics = best
    was, now = ((one.data.test_split, dataclasses.replace(one.evaluation, batch_size=1)) for one in (before, config))
    if was == now:
        return _score(metrics)
    if jax.process_index() == 0:
        print(
            f"the best checkpoint of {workdir} was evaluated with other settings; the next one takes its place",
            file=sys.stderr,
        )
    return -math.inf


def _was_evaluated(workdir: Path, step: int, best_score: float) -> bool:
    """Whether the evaluation of a step was logged, and saved if it was the best one; the first process decides."""
    score = _score(logged_figures(workdir, step))
    return bool(multihost_utils.broadcast_one_to_all(np.int32(-math.inf < score <= best_score)))
