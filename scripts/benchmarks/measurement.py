"""Repeated timings, and the report that every measurement gives."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Work = Callable[[], Any]
"""Called to be timed. What runs elsewhere returns its own (seconds, processor seconds), else None."""


@dataclasses.dataclass
class Measurement:
    """The repetitions of one piece of work."""

    name: str
    seconds: list[float]  # on the clock, of each repetition
    cpu_seconds: list[float]  # of all threads; tells more than the clock where others use the machine
    count: int = 1  # units of work in a repetition
    unit: str = "call"

    @property
    def median(self) -> float:
        """Seconds on the clock of a unit."""
        return float(np.median(self.seconds)) / self.count

    @property
    def cpu_median(self) -> float:
        """Seconds of processor time of a unit."""
        return float(np.median(self.cpu_seconds)) / self.count

    def to_json(self) -> dict[str, Any]:
        """Fields and medians, for a result file."""
        return dataclasses.asdict(self) | {"median": self.median, "cpu_median": self.cpu_median}


@dataclasses.dataclass
class Report:
    """What a measurement found."""

    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)  # by name: counts, ratios, sizes with their unit

    def to_json(self) -> dict[str, Any]:
        """For a result file."""
        return {"measurements": [one.to_json() for one in self.measurements], "facts": self.facts}

    def table(self) -> str:
        """For people."""
        lines = []
        if self.measurements:
            width = max(len(one.name) for one in self.measurements)
            lines.append(
                f"{'':{width}}  {'median':>10} {'fastest':>10} {'slowest':>10} {'processor':>10}  {'rate':>12}"
            )
        for one in self.measurements:
            times = (one.median, min(one.seconds) / one.count, max(one.seconds) / one.count, one.cpu_median)
            rate = 1 / one.median if one.median else float("inf")
            lines.append(
                f"{one.name:{width}}  {' '.join(f'{_time(value):>10}' for value in times)}  {rate:>12.4g} {one.unit}s/s"
            )
        lines += [
            f"{name}: {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in self.facts.items()
        ]
        return "\n".join(lines)


def clock() -> tuple[float, float]:
    """Seconds on the clock and of this process's processor time."""
    return time.perf_counter(), time.process_time()


def interleave(
    functions: dict[str, Work],
    repeats: int,
    *,
    warm_up: int = 1,
    count: int = 1,
    unit: str = "call",
) -> list[Measurement]:
    """Times functions in turn, one repetition of each after the other, so that a busy machine slows all of them alike.

    Args:
      functions: by name.
      repeats: timed calls of each.
      warm_up: calls of each before those, which compile and fill caches.
      count: units of work in a call.
      unit: what they are.
    """
    measurements = {name: Measurement(name, [], [], count, unit) for name in functions}
    for repetition in range(-warm_up, repeats):
        for name, function in functions.items():
            started = clock()
            own = function()
            ended = clock()
            seconds, cpu_seconds = own or (ended[0] - started[0], ended[1] - started[1])
            if repetition >= 0:
                measurements[name].seconds.append(seconds)
                measurements[name].cpu_seconds.append(cpu_seconds)
    return list(measurements.values())


def once(name: str, function: Callable[[], Any], *, count: int = 1, unit: str = "call") -> tuple[Measurement, Any]:
    """One timed call, with what it returned."""
    started = clock()
    result = function()
    ended = clock()
    return Measurement(name, [ended[0] - started[0]], [ended[1] - started[1]], count, unit), result


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.4g} {unit}"
    return f"{seconds * 1e6:.4g} us"
