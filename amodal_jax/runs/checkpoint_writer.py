"""Writing checkpoints, by Orbax: to a temporary folder, which is renamed when it is whole."""

import contextlib
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.config import Config
from amodal_jax.config_json import to_json
from amodal_jax.errors import CheckpointError, first_line
from amodal_jax.files.atomic import make_folder, replacing
from amodal_jax.network import Variables
from amodal_jax.parallel.processes import synchronise
from amodal_jax.runs.checkpoint import ITEMS, Checkpoint, checksum_of
from amodal_jax.runs.directory import (
    REPLACED,
    Kind,
    checkpoint_steps,
    checkpoints_folder,
    write_config,
)

_LATE_WRITES = 10.0  # seconds


class CheckpointWriter:
    """Saves the checkpoints of one kind in the background.

    With several processes every one has to make the same calls, and the run directory has to be on a file system that
    they share.
    """

    def __init__(self, workdir: Path, kind: Kind, config: Config):
        self._folder = checkpoints_folder(workdir, kind)
        self._config = config
        keep = config.train.keep_checkpoints if kind == "last" else 1
        # On the same file system as the folder, and not in it, where one of this step is.
        self._replacements = self._folder.with_name(f"{kind}.replacements")
        try:
            self._tidy()  # what a killed process has left
            synchronise("checkpoints tidied")
            self._manager = _manager(self._folder, keep)
        except OSError as error:
            raise CheckpointError(f"{self._folder}: cannot be made ({error})") from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Starts to save; when this returns, the arrays have been copied and may be overwritten.

        A checkpoint of the same step, which a run comes by again that fell back to an older one, is replaced when the
        new one is whole, for which this waits.

        Args:
          checkpoint: its arrays lie whole on each of this process's devices.

        Raises:
          CheckpointError: this checkpoint or the one before could not be written, say for a full disk. Those from
            before are still there.
        """
        arrays = {"variables": checkpoint.variables}
        if checkpoint.optimizer_state is not None:
            arrays["optimizer"] = checkpoint.optimizer_state
        info = {
            "config": to_json(self._config),
            "position": checkpoint.position,
            "metrics": checkpoint.metrics,
            "unlogged": checkpoint.unlogged,
            "checksums": {name: checksum_of(tree) for name, tree in arrays.items()},
        }
        items = {name: ocp.args.StandardSave(_over_all_processes(tree)) for name, tree in arrays.items()}
        args = ocp.args.Composite(info=ocp.args.JsonSave(info), **items)
        try:
            if checkpoint.step in self._manager.all_steps():
                self._replace(checkpoint.step, args)
            else:
                self._manager.save(checkpoint.step, args=args, force=True)
        except Exception as error:
            raise self._failure(error) from error

    def _replace(self, step: int, args: ocp.args.Composite) -> None:
        """Orbax would delete the checkpoint that is there, and only then write."""
        self._manager.wait_until_finished()
        with contextlib.closing(_manager(self._replacements, keep=1)) as manager:
            manager.save(step, args=args, force=True)
            manager.wait_until_finished()
        if jax.process_index() == 0:
            place = self._folder / str(step)
            os.replace(place, f"{place}{REPLACED}")  # only a folder that is empty can be replaced at one go
            os.replace(self._replacements / str(step), place)
            self._tidy()
        synchronise("checkpoint replaced")
        self._manager.reload()

    def close(self) -> None:
        """Waits until everything is written.

        Raises:
          CheckpointError: as `save`.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CheckpointError:
        _await_orbax()
        with contextlib.suppress(OSError):  # what cannot be put back is read where it is
            self._tidy()
        steps = checkpoint_steps(self._folder)
        good = f"the newest good one is of step {steps[0]}" if steps else "there is no good one yet"
        return CheckpointError(
            f"{self._folder}: a checkpoint could not be written ({_reason(error)}); {good}. "
            "Mend this, then run the same command again"
        )

    def _tidy(self) -> None:
        """Removes what is unfinished, and puts back or removes what was being replaced."""
        if jax.process_index() != 0:
            return
        for replaced in self._folder.glob(f"*{REPLACED}"):
            place = replaced.with_suffix("")
            if not place.exists():
                os.replace(replaced, place)
        for rest in (
            *self._folder.glob("*.orbax-checkpoint-tmp*"),
            *self._folder.glob(f"*{REPLACED}"),
            self._replacements,
        ):
            shutil.rmtree(rest, ignore_errors=True)


def write_network(workdir: Path, config: Config, variables: Variables) -> None:
    """Writes a run directory that holds a network as the checkpoint of step 0, without an optimiser's state.

    Args:
      workdir: a folder that is not there yet, or an empty one. It appears when all is written.
      config: the network's; without class names where the variables are a backbone's alone.
      variables: NumPy arrays or any others.

    Raises:
      CheckpointError: it could not be written. Nothing is left of it.
    """
    workdir = workdir.absolute()

    def write(folder: Path) -> None:
        with contextlib.closing(CheckpointWriter(folder, "last", config)) as writer:
            everywhere = NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec())
            writer.save(Checkpoint(0, jax.device_put(variables, everywhere), None, None))
        write_config(folder, config)

    try:
        make_folder(workdir.parent)
        # Orbax has threads of its own, which Ctrl-C would leave writing to what is taken away: it comes to this thread,
        # which then waits for the one that writes.
        with replacing(workdir) as unfinished, ThreadPoolExecutor(1) as executor:
            executor.submit(write, unfinished).result()
    except (OSError, CheckpointError) as error:
        # Those of the writer name the unfinished folder.
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise CheckpointError(f"{workdir}: cannot be written ({_reason(cause)}); nothing of it is left") from error


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    # Where folders are made in the background and one cannot be, Orbax's other threads wait for it for minutes.
    in_background = ocp.AsyncOptions(create_directories_asynchronously=False)
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, async_options=in_background)
    return ocp.CheckpointManager(folder, item_names=ITEMS, options=options)


def _await_orbax() -> None:
    """Waits for Orbax's threads, of which the first one that fails is heard of while others still make files."""
    end = time.monotonic() + _LATE_WRITES
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("orbax."):
            threading.Thread.join(thread, max(0.0, end - time.monotonic()))  # its own `join` raises what it has met


def _over_all_processes(tree: Any) -> Any:
    """Arrays that lie whole on each of this process's devices, as arrays over the devices of all processes.

    That is what Orbax saves, each process a part. Nothing is copied.
    """
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), "batch"), PartitionSpec())

    def whole(array: jax.Array) -> jax.Array:
        parts = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, everywhere, parts)

    return jax.tree.map(whole, tree)


def _reason(error: Exception) -> str:
    """Why a write has failed, which TensorStore says at the end of what it was about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text, of_system, _ = first_line(error).partition(" [os_error_code=")
    return text.rpartition(": ")[2] if of_system else text
