"""A run directory belongs to one training at a time."""

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import jax
import numpy as np
from jax.experimental import multihost_utils

from amodal_jax.errors import ConfigError
from amodal_jax.files.atomic import make_folder
from amodal_jax.files.lock import try_lock

_FILE = "lock"


@contextlib.contextmanager
def run_lock(workdir: Path) -> Iterator[None]:
    """Keeps other trainings out of a run directory, which is made if need be; all processes of one enter it together.

    The first process alone locks a file in it, for all. The system unlocks it when that process ends in whatever way.

    Raises:
      ConfigError: another training is there. Every process raises it.
    """
    with contextlib.ExitStack() as stack:
        holder = None
        if jax.process_index() == 0:
            make_folder(workdir)
            holder = _lock(stack.enter_context((workdir / _FILE).open("a+")))
        if multihost_utils.broadcast_one_to_all(np.int32(holder is not None)):
            raise ConfigError(
                f"{workdir}: {holder or 'another process'} is training there; stop it, or choose another --workdir"
            )
        yield


def _lock(file: TextIO) -> str | None:
    """Locks the file and writes into it who has it; who else has it, if it is locked already."""
    if not try_lock(file):
        file.seek(0)
        return file.read() or "another process"
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return None
