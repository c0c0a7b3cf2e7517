"""SIGTERM and Ctrl-C, as a training heeds them: at the next step, with a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any

import jax
import numpy as np


class StopRequest:
    """Remembers SIGTERM and SIGINT while it is entered; a second one acts as it always does."""

    def __init__(self):
        self._requested = False
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._usual[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self._requested = True
        self.__exit__()

    def requested(self) -> bool:
        """Whether this process was asked to end."""
        return self._requested

    def flags(self) -> np.ndarray:
        """For each local device 1 if this process was asked to end; summed in the step, for all to learn it at once."""
        return np.full(jax.local_device_count(), int(self._requested), np.int32)
