"""What long work says about itself on a terminal, and now and then in a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    description: str,
    unit: str,
    shown: bool = True,
    log_seconds: float = 30.0,
    bar_format: str | None = None,
) -> tqdm:
    """A bar with rate and time left on stderr, drawn in place on a terminal, and a line now and then in a log.

    Args:
      items: what to go through, where the bar is to count it itself; otherwise `update` counts.
      total: the number of items, where they do not say it.
      description: stands before the bar.
      unit: what is counted.
      shown: False for a bar that nobody sees.
      log_seconds: between two lines of a log.
      bar_format: tqdm's, for another line than a bar.
    """
    terminal = sys.stderr.isatty()
    interval = 0.5 if terminal else log_seconds
    # tqdm has a thread that draws whatever has not been drawn for `maxinterval`, 10 s if nothing else is said.
    return tqdm(
        items,
        total=total,
        desc=description,
        unit=unit,
        disable=not shown,
        mininterval=interval,
        maxinterval=max(10.0, interval),
        file=sys.stderr if terminal else _LogLines(),
        bar_format=bar_format,
    )


class _LogLines:
    """Has tqdm write lines on stderr, for a log, where nothing can be drawn over what stands there."""

    def __init__(self):
        self._stream = sys.stderr
        self._last = ""

    def write(self, text: str) -> None:
        line = text.strip()  # of the return to the line's beginning, and the blanks over what stood there
        if line and line != self._last:
            self._stream.write(line + "\n")
            self._last = line

    def flush(self) -> None:
        self._stream.flush()


class ProgressLine:
    """The step, the losses, images per second and the time left, in one line, shown as `progress_bar` shows its own."""

    def __init__(self, last_step: int, batch_size: int):
        self._last_step = last_step
        self._batch_size = batch_size
        self._bar: tqdm | None = None

    def update(self, step: int, values: dict[str, float], images_per_second: float | None) -> None:
        """Says that `step` steps are done, figures by name, and, if the rate is known, the time left."""
        parts = [f"step {step}/{self._last_step}", *(f"{name} {value:.3g}" for name, value in values.items())]
        if images_per_second:
            left = (self._last_step - step) * self._batch_size / images_per_second
            parts += [f"{images_per_second:.1f} images/s", f"{tqdm.format_interval(round(left))} left"]
        line = "  ".join(parts)
        if self._bar is None:
            self._bar = progress_bar(description=line, unit="line", log_seconds=15.0, bar_format="{desc}")
            self._bar.miniters = 1  # time alone decides
            return
        self._bar.set_description_str(line, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Ends the line with what was said last."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
