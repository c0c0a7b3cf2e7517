"""How Orbax is kept from speaking out of turn, and processes from running ahead of each other."""

import functools
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import absl.logging
import jax
from jax.experimental import multihost_utils

# Orbax warns of its own defaults, and logs what it raises as well; asyncio logs what else goes wrong because of that.
absl.logging.set_verbosity(absl.logging.FATAL)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def ignore_late_callbacks() -> None:
    """Keeps off stderr what Orbax' other reads or writes give when one of them fails.

    It ends the event loop that they are to report to, or in which they were to begin. Their tracebacks and warnings
    come late, at the latest as the process ends, so that the hook and the filter stay.
    """
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
    usual = sys.unraisablehook
    if getattr(usual, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, usual)


def _unraisable(usual: Callable[[Any], Any], unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        usual(unraisable)


def synchronise(what: str) -> None:
    """Waits for all processes at this point, where there are several."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
