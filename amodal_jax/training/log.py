"""What a training says of its steps while it runs."""

import math
import time
from collections import deque
from pathlib import Path

from amodal_jax.cli.progress import ProgressLine
from amodal_jax.config import Config
from amodal_jax.errors import TrainingError
from amodal_jax.runs.metric_writer import MetricWriter
from amodal_jax.training.step import Metrics

NO_TERMS = ("gradient_norm", "learning_rate", "short_side")  # what else is logged of a step beside its losses


class Log:
    """The figures of the steps, averaged over `train.log_every` of them, and the progress line."""

    def __init__(self, config: Config, workdir: Path, step: int, unlogged: dict[str, float] | None):
        self._every = config.train.log_every
        self._batch_size = config.train.batch_size
        self._writer = MetricWriter(workdir, step)
        self._progress = ProgressLine(config.train.steps, config.train.batch_size)
        self.unlogged = dict(unlogged or {})  # sums over the steps since the last line, and the number of these `steps`
        self._timed_steps = 0
        self._seconds = 0.0
        self._last_time: float | None = None  # None: the next step's time says nothing, as of one that is compiled

    def add(self, step: int, figures: dict[str, float]) -> None:
        now = time.monotonic()
        if self._last_time is not None:
            self._timed_steps += 1
            self._seconds += now - self._last_time
        self._last_time = now
        for name, value in ({"steps": 1.0} | figures).items():
            self.unlogged[name] = self.unlogged.get(name, 0) + value
        if step % self._every:
            return
        steps = self.unlogged["steps"]
        means = {name: self.unlogged[name] / steps for name in figures}
        rate = self._timed_steps * self._batch_size / self._seconds if self._timed_steps else None
        self._writer.write(step, means | ({"images_per_second": rate} if rate else {}))
        terms = {name: value for name, value in means.items() if name not in NO_TERMS}
        self._progress.update(step, terms, rate)
        self.unlogged, self._timed_steps, self._seconds = {}, 0, 0.0

    def pause(self) -> None:
        """What comes now, until the next step, is no step's time."""
        self._last_time = None
        self._progress.close()

    def evaluated(self, step: int, figures: dict[str, float]) -> None:
        self._writer.write(step, figures)

    def close(self) -> None:
        self._progress.close()
        self._writer.close()


class StartedSteps:
    """The figures of steps that were started, read when the devices are done with them."""

    def __init__(self, workdir: Path, log: Log | None):
        self._workdir = workdir
        self._log = log
        self._running: deque[tuple[int, Metrics]] = deque()
        self.stop_requested = False  # by any process, as far as steps were read

    def add(self, step: int, metrics: Metrics) -> None:
        """A step that was started: its number and its figures to come."""
        self._running.append((step, metrics))

    def read(self, newest: int, saved: int | None) -> None:
        """Reads the figures of all steps but the newest ones, which keep the devices busy meanwhile.

        Args:
          newest: so many are left.
          saved: the step of the last checkpoint, for an error's text.

        Raises:
          TrainingError: a figure is not finite.
        """
        while len(self._running) > newest:
            done, metrics = self._running.popleft()
            figures = {name: float(metrics[name]) for name in ("loss", *metrics)}
            self.stop_requested |= figures.pop("stop_requests") > 0
            _check_finite(done, figures, self._workdir, saved)
            if self._log:
                self._log.add(done, figures)


def _check_finite(step: int, figures: dict[str, float], workdir: Path, saved: int | None) -> None:
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        terms = [name for name in wrong if name != "loss"] or wrong
        good = f"the last good checkpoint in {workdir} is of step {saved}" if saved else "no checkpoint was saved yet"
        raise TrainingError(
            f"step {step}: {', '.join(f'{name} is {figures[name]}' for name in terms)}; {good}. "
            "Lower train.learning_rate, lengthen train.warmup_steps or set train.gradient_clip"
        )
