"""The figures of a run: a line of JSON each time in `metrics.jsonl`, and TensorBoard events beside it."""

import json
from pathlib import Path

from tensorboardX import SummaryWriter

from amodal_jax.atomic_file import write_atomically


class MetricWriter:
    """Appends figures to a run directory; what an interrupted run wrote after `step` is taken back first."""

    def __init__(self, workdir: Path, step: int):
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        if path.exists():
            write_atomically(path, "".join(line + "\n" for line in _lines_until(path, step)))
        self._file = path.open("a")
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Writes figures by name; `step` is the number of steps done."""
        self._file.write(json.dumps({"step": step} | metrics) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes out what is still held back."""
        self._file.close()
        self._events.close()


def logged_figures(workdir: Path, step: int) -> dict[str, float]:
    """All figures that a run has written of a step; empty where there are none."""
    path = workdir / "metrics.jsonl"
    lines = map(json.loads, _lines_until(path, step) if path.exists() else ())
    return {name: float(value) for line in lines if line.pop("step") == step for name, value in line.items()}


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue  # a machine that died has left a part of a line
    return kept
