"""How a command keeps the libraries that it works with from speaking of themselves.

All of it is of the command's process, for as long as that lives; `import amodal_jax` does none of it.
"""

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any


def silence_libraries() -> None:
    """Keeps off stderr what TensorFlow, OpenCV, TFDS and Orbax say there; what goes wrong is raised as well.

    TensorFlow and OpenCV read the environment as they are imported, so that this comes before.
    """
    import absl.logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it says of damaged files names none
    # TFDS warns of an attribute that only itself uses. Orbax warns of its own defaults, and logs what it raises as
    # well; asyncio logs what else goes wrong because of that.
    absl.logging.set_verbosity(absl.logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    ignore_late_callbacks()


def ignore_late_callbacks() -> None:
    """Keeps off stderr what Orbax' other reads or writes give when one of them fails.

    Orbax ends the event loop that they are to report to, or in which they were to begin. Their tracebacks and warnings
    come late, at the latest as the process ends, so that the hook and the filter stay.
    """
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
    usual = sys.unraisablehook
    if getattr(usual, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, usual)


def _unraisable(usual: Callable[[Any], Any], unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        usual(unraisable)
