"""What the trainings of a study will take, from measured steps of one network and the arithmetic of the others."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from amodal_jax.config import Config
from amodal_jax.config_json import override
from scripts.benchmarks.measurement import interleave
from scripts.benchmarks.network import TrainingStep, draw_examples, floating_point_operations
from scripts.studies.jobs import Job

STEPS = 3  # that are timed


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a study is expected to take on this machine."""

    seconds_a_step: dict[str, float]
    """By row. One is measured; another has as much more or less as its step has arithmetic."""
    hours: float
    """Of training alone, of all jobs together, one after the other."""


def estimate(jobs: Iterable[Job], config: Config) -> Estimate:
    """Times a few training steps of the first job's network on made-up images, and counts the arithmetic of the others.

    Args:
      jobs: those that are to be trained; at least one.
      config: what their rows change, with the study's overrides; the dataset's classes filled in.
    """
    jobs = list(jobs)
    seconds: dict[str, float] = {}
    measured: tuple[float, float] | None = None
    for job in jobs:
        if job.row.name in seconds:
            continue
        changed = override(config, list(job.row.changes))
        step = TrainingStep(changed, draw_examples(changed))
        lowered = step.lower()
        operations = floating_point_operations(lowered)
        if measured is None:
            measured = (operations, _seconds(step, lowered.compile()))
        seconds[job.row.name] = measured[1] * operations / measured[0]
    total = sum(seconds[job.row.name] * config.train.steps for job in jobs)
    return Estimate(seconds, total / 3600)


def _seconds(step: TrainingStep, compiled: Any) -> float:
    return interleave({"training step": lambda: step.call(compiled)}, STEPS)[0].median
