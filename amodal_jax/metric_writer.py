"""The figures of a run: a line of JSON each time in `metrics.jsonl`, and TensorBoard events beside it."""

import json
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from amodal_jax.atomic_file import naming, write_atomically
from amodal_jax.text_file import read_text


class MetricWriter:
    """Appends figures to a run directory; what an interrupted run wrote after `step` is taken back first.

    What is written is on the disk when a call returns. (tensorboardX' `SummaryWriter` writes in a thread, which dies
    when the disk is full, and the next calls wait for it for ever.)

    Raises (as every call does):
      OSError: the disk is full or the folder cannot be written; names the file.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / "metrics.jsonl"
        self._events_path = workdir / "tensorboard"
        with naming(self._events_path):
            self._events_path.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            write_atomically(self._path, "".join(line + "\n" for line in _lines_until(self._path, step)))
        with naming(self._path):
            self._file = self._path.open("a")
        with naming(self._events_path):
            self._events = EventsWriter(str(self._events_path / "events"))
            # TensorBoard drops what it has read from this step on.
            self._events.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Writes figures by name; `step` is the number of steps done."""
        with naming(self._path):
            self._file.write(json.dumps({"step": step} | metrics) + "\n")
            self._file.flush()
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        with naming(self._events_path):
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
            self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        with naming(self._path):
            self._file.close()
        with naming(self._events_path):
            self._events.close()


def logged_figures(workdir: Path, step: int) -> dict[str, float]:
    """All figures that a run has written of a step; empty where there are none."""
    path = workdir / "metrics.jsonl"
    lines = map(json.loads, _lines_until(path, step) if path.exists() else ())
    return {name: float(value) for line in lines if line.pop("step") == step for name, value in line.items()}


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in read_text(path, errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, TypeError, LookupError):
            continue  # a machine that died has left a part of a line
    return kept
