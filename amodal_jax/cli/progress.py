"""What long work says about itself on a terminal, and now and then in a log."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    items: Iterable[Any] | None = None, *, total: int | None = None, description: str, unit: str, shown: bool = True
) -> tqdm:
    """A bar with rate and time left on stderr, which is drawn often on a terminal and twice a minute in a log.

    Args:
        items: what to go through, where the bar is to count it itself; otherwise `update` counts.
        total: the number of items, where they do not say it.
        description: stands before the bar.
        unit: what is counted.
        shown: False for a bar that nobody sees.
    """
    interval = 0.5 if sys.stderr.isatty() else 30.0
    # tqdm has a thread that draws whatever has not been drawn for `maxinterval`, 10 s if nothing else is said.
    return tqdm(
        items,
        total=total,
        desc=description,
        unit=unit,
        disable=not shown,
        mininterval=interval,
        maxinterval=max(10.0, interval),
    )


class ProgressLine:
    """The step, the losses, images per second and the time left, in one line.

    On a terminal the line is rewritten in place; elsewhere a new one is written at most every `log_seconds`.
    """

    def __init__(
        self,
        last_step: int,
        batch_size: int,
        *,
        log_seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._last_step = last_step
        self._batch_size = batch_size
        self._stream = sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = 0.2 if self._terminal else log_seconds
        self._clock = clock
        self._written = -math.inf
        self._width = 0

    def update(self, step: int, values: dict[str, float], images_per_second: float | None) -> None:
        """Shows that `step` steps are done, figures by name, and, if the rate is known, the time left."""
        now = self._clock()
        if now - self._written < self._interval and step < self._last_step:
            return
        self._written = now
        parts = [f"step {step}/{self._last_step}", *(f"{name} {value:.3g}" for name, value in values.items())]
        if images_per_second:
            left = (self._last_step - step) * self._batch_size / images_per_second
            parts += [f"{images_per_second:.1f} images/s", f"{duration(left)} left"]
        line = "  ".join(parts)
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the line."""
        if self._terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0


def duration(seconds: float) -> str:
    """H:MM:SS, or M:SS under an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
