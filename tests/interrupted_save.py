"""Saves a checkpoint, stopping at every moment at which that changes the file system; run as a program of its own.

python -m tests.interrupted_save (copy|fail|fail-once) RUN KIND STEP OUT

The program saves a small network as RUN's checkpoint of a step. `copy` copies RUN to OUT/0, OUT/1, ... before each file
or folder is opened for writing, made, renamed or removed: what a process leaves that is killed then. `fail` saves again
and again, each time to a new copy of RUN and with the first failure, after which all else fails, one such call later,
until a save comes to its end. With `fail-once` only that one call fails.
"""

import contextlib
import errno
import functools
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax import checkpoint
from amodal_jax.checkpoint import Checkpoint, CheckpointWriter
from amodal_jax.errors import CheckpointError
from tests.micro import micro_config

SCORE = "amodal/AP"
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


def save(run: Path, kind: str, step: int, score: float) -> None:
    """Saves a network whose only values are the score."""
    everywhere = NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec())
    variables = jax.device_put({"params": {"w": np.full(3, score, np.float32)}}, everywhere)
    with contextlib.closing(CheckpointWriter(run, kind, micro_config())) as writer:
        writer.save(Checkpoint(step, variables, None, None, {SCORE: score}))


class _Watch:
    """Calls a function before each change of the file system by this process' Python code, in any thread."""

    def __init__(self):
        self.before: Callable[[], None] | None = None
        self._lock = threading.RLock()
        self._inside = threading.local()
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple) -> None:
        if self.before is None or getattr(self._inside, "yes", False):
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes and event not in _CHANGES:
            return
        with self._lock:
            self._inside.yes = True
            try:
                if self.before is not None:
                    self.before()
            finally:
                self._inside.yes = False


def _copy(run: Path, out: Path) -> None:
    """What there is at this moment; TensorStore's threads go on making and renaming files in unfinished folders."""
    for folder, _, names in os.walk(run):
        place = out / Path(folder).relative_to(run)
        place.mkdir(parents=True)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(Path(folder) / name, place / name)


def _copies(watch: _Watch, run: Path, kind: str, step: int, out: Path) -> None:
    made = 0

    def before() -> None:
        nonlocal made
        _copy(run, out / str(made))
        made += 1

    watch.before = before
    save(run, kind, step, 2.0)
    watch.before = None
    _copy(run, out / str(made))


def _failures(watch: _Watch, run: Path, kind: str, step: int, out: Path, *, once: bool = False) -> None:
    checkpoint._LATE_WRITES = 0.1  # each failure has a folder of its own, which late ones may write to
    for number in range(10_000):
        place = out / str(number)
        shutil.copytree(run, place)
        calls = 0

        def before(number=number) -> None:
            nonlocal calls
            calls += 1
            if calls == number + 1 or (calls > number and not once):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        watch.before = before
        try:
            save(place, kind, step, 2.0)
        except CheckpointError as error:
            print(error)
        finally:
            watch.before = None
        if calls <= number:
            return


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    how, run_, kind_, step_, out_ = sys.argv[1:]
    program = {"copy": _copies, "fail": _failures, "fail-once": functools.partial(_failures, once=True)}[how]
    program(_Watch(), Path(run_), kind_, int(step_), Path(out_))
