"""Checkpoints of a run, by Orbax, which nothing else knows.

A run directory holds `config.json` and `checkpoints`, in it `last` with the newest ones and `best` with the one that
evaluated best. A checkpoint is a folder named by its step that holds everything that is needed to use it and to go on
from it: the network's variables, the optimiser's state, and a JSON with the configuration, the position in the data
and, in `best`, the evaluation's figures. Orbax writes to a temporary folder and renames it when it is whole.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.atomic_file import write_atomically
from amodal_jax.build import Variables, build_detector, initialise
from amodal_jax.config import Config, from_json, to_json
from amodal_jax.errors import CheckpointError

absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax warns of its own defaults
_logger = logging.getLogger(__name__)

Kind = Literal["last", "best"]
_CONFIG = "config.json"
_ITEMS = ("variables", "optimizer", "info")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    step: int
    variables: Variables
    optimizer_state: Any | None  # None where there is only a network, to use or to start from, and no run to go on with
    position: dict[str, Any] | None  # of the training data, where its iterator has one; must be JSON
    metrics: dict[str, float] | None = None  # of the evaluation, in `best`


class CheckpointWriter:
    """Saves the checkpoints of one kind in the background.

    With several processes every one has to make the same calls, and the run directory has to be on a file system that
    they share.
    """

    def __init__(self, workdir: Path, kind: Kind, config: Config):
        self._folder = _folder(workdir, kind)
        self._config = config
        keep = config.train.keep_checkpoints if kind == "last" else 1
        if jax.process_index() == 0:
            # What a killed process or a full disk has left.
            for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished)
        try:
            self._manager = ocp.CheckpointManager(
                self._folder, item_names=_ITEMS, options=ocp.CheckpointManagerOptions(max_to_keep=keep)
            )
        except OSError as error:
            raise CheckpointError(f"{self._folder}: cannot be made ({error})") from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Starts to save; when this returns, the arrays have been copied and may be overwritten.

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
            "checksums": {name: _checksum(tree) for name, tree in arrays.items()},
        }
        items = {name: ocp.args.StandardSave(_over_all_processes(tree)) for name, tree in arrays.items()}
        try:
            self._manager.save(
                checkpoint.step, args=ocp.args.Composite(info=ocp.args.JsonSave(info), **items), force=True
            )
        except Exception as error:
            raise self._failure(error) from error

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
        steps = _steps(self._folder)
        good = f"the newest good one is of step {steps[0]}" if steps else "there is no good one yet"
        return CheckpointError(f"{self._folder}: a checkpoint could not be written ({_first_line(error)}); {good}")


def write_config(workdir: Path, config: Config) -> None:
    """Writes `config.json` of a run directory, which is made if need be."""
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomically(workdir / _CONFIG, to_json(config) + "\n")


def write_network(workdir: Path, config: Config, variables: Variables) -> None:
    """Writes a run directory that holds a network as the checkpoint of step 0, without an optimiser's state.

    Args:
      workdir: a folder that is not there yet, or an empty one. It appears when all is written.
      config: the network's; without class names where the variables are a backbone's alone.
      variables: NumPy arrays or any others.

    Raises:
      CheckpointError: it could not be written. Nothing is left of it.
    """
    unfinished = workdir.absolute().with_name(f"{workdir.name}.unfinished-{os.getpid()}")
    try:
        writer = CheckpointWriter(unfinished, "last", config)
        with contextlib.closing(writer):
            everywhere = NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec())
            writer.save(Checkpoint(0, jax.device_put(variables, everywhere), None, None))
        write_config(unfinished, config)
        os.replace(unfinished, workdir)
    except OSError as error:
        raise CheckpointError(f"{workdir}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_config(workdir: Path) -> Config | None:
    """The configuration in a run directory; None where there is none.

    Raises:
      ConfigError: it is no configuration.
    """
    path = workdir / _CONFIG
    return from_json(path.read_text()) if path.is_file() else None


def best_metrics(workdir: Path) -> dict[str, float] | None:
    """The figures of the run's best checkpoint; None where it has none, or only damaged ones, which is said."""
    try:
        return _first_good(_folder(workdir, "best"), _read_info)["metrics"]
    except CheckpointError:
        return None


def restore_last(workdir: Path, variables: Variables, optimizer_state: Any) -> Checkpoint | None:
    """The newest good checkpoint of a run, to go on from; None where there is none at all.

    Damaged ones that are newer are said and moved to `checkpoints/damaged`, to make room for new ones.

    Args:
      workdir: the run directory.
      variables: arrays or shapes that the result's must match.
      optimizer_state: the same.

    Raises:
      CheckpointError: there are checkpoints, but none is good; or they are of another network, or hold only a network.
    """
    folder = _folder(workdir, "last")
    steps = _steps(folder)
    if not steps:
        return None

    def read(path: Path) -> Checkpoint:
        info = _read_info(path)
        if "optimizer" not in info["checksums"]:
            raise CheckpointError(
                f"{path}: holds a network but no state of an optimiser: it is no run to go on with; choose another "
                "directory for the run, and this one to initialise it from"
            )
        return Checkpoint(
            step=int(path.name),
            variables=_read_arrays(path, "variables", variables, info["checksums"]["variables"]),
            optimizer_state=_read_arrays(path, "optimizer", optimizer_state, info["checksums"]["optimizer"]),
            position=info["position"],
            metrics=info["metrics"],
        )

    checkpoint = _first_good(folder, read)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("restored")
    if jax.process_index() == 0:
        for step in (step for step in steps if step > checkpoint.step):
            damaged = folder.with_name("damaged") / str(step)
            damaged.parent.mkdir(exist_ok=True)
            shutil.rmtree(damaged, ignore_errors=True)
            os.replace(folder / str(step), damaged)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("damaged checkpoints moved")
    return checkpoint


def load_checkpoint(path: str | os.PathLike[str], *, kind: Kind = "last") -> tuple[Config, Variables, int]:
    """The configuration, variables (on the host) and step of a checkpoint.

    Args:
      path: a run directory, or the folder of one checkpoint.
      kind: of a run directory the newest checkpoint, or the best one.

    Raises:
      CheckpointError: there is none, none is good, its parameters are not those of its configuration, or they are a
        backbone's alone.
    """

    def read(path: Path) -> tuple[Config, Variables, int]:
        info = _read_info(path)
        config = from_json(info["config"])
        if not config.model.class_names:
            raise CheckpointError(
                f"{path}: holds a backbone alone, which finds no objects; initialise a training from it"
            )
        detector = build_detector(config)
        shapes = jax.eval_shape(lambda key: initialise(detector, config, key), jax.random.key(0))
        return config, _read_arrays(path, "variables", shapes, info["checksums"]["variables"]), int(path.name)

    return _read_place(path, kind, read)


def load_variables(path: str | os.PathLike[str], *, kind: Kind = "last") -> tuple[Config, Variables]:
    """The configuration and the variables (on the host) of a checkpoint as they are, to initialise a training from.

    They may be a backbone's alone; the configuration then names no classes.

    Args:
      path: a run directory, or the folder of one checkpoint.
      kind: of a run directory the newest checkpoint, or the best one.

    Raises:
      CheckpointError: there is none, or none is good.
    """

    def read(path: Path) -> tuple[Config, Variables]:
        info = _read_info(path)
        return from_json(info["config"]), _read_arrays(path, "variables", None, info["checksums"]["variables"])

    return _read_place(path, kind, read)


def run_directory(path: str | os.PathLike[str]) -> Path:
    """The run directory of what `load_checkpoint` takes."""
    place = Path(path).expanduser().absolute()
    return place.parents[2] if _is_checkpoint(place) else place


def _is_checkpoint(path: Path) -> bool:
    return path.name.isdigit() and (path / "info").exists()


def _folder(workdir: Path, kind: Kind) -> Path:
    return workdir.absolute() / "checkpoints" / kind


def _steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first."""
    if not folder.is_dir():
        return []
    return sorted((int(path.name) for path in folder.iterdir() if path.name.isdigit()), reverse=True)


class _Damaged(Exception):
    """A checkpoint that cannot be read."""


def _first_good(folder: Path, read, steps: list[int] | None = None):
    """What `read` gives for the first of the steps (all, newest first) for which it does not raise `_Damaged`."""
    steps = _steps(folder) if steps is None else steps
    if not steps:
        raise CheckpointError(f"{folder}: there is no checkpoint")
    for step in steps:
        try:
            result = read(folder / str(step))
        except _Damaged as error:
            _logger.warning("%s: this checkpoint is damaged (%s)", folder / str(step), error)
            continue
        if step != steps[0]:
            _logger.warning("%s: the last good checkpoint, of step %d, is used", folder, step)
        return result
    raise CheckpointError(f"{folder}: no good checkpoint: {', '.join(map(str, steps))} cannot be read")


def _read_place(path: str | os.PathLike[str], kind: Kind, read):
    """What `read` gives for one checkpoint, or for the newest good one of a run."""
    place = Path(path).expanduser().absolute()
    if _is_checkpoint(place):
        return _first_good(place.parent, read, steps=[int(place.name)])
    return _first_good(_folder(place, kind), read)


def _read_info(path: Path) -> dict[str, Any]:
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            info = reader.restore(path / "info")
        return {name: info[name] for name in ("config", "position", "metrics", "checksums")}
    except Exception as error:
        raise _Damaged(_first_line(error)) from error


def _read_arrays(path: Path, item: str, like: Any, checksum: int) -> Any:
    """The arrays of an item in the structure of `like`, on the host; without one as nested dictionaries.

    Raises:
      _Damaged: they cannot be read.
      CheckpointError: they have other names or shapes than `like`.
    """
    with ocp.StandardCheckpointer() as reader:
        try:
            stored = reader.metadata(path / item).item_metadata.tree
            found = _names(stored)
        except Exception as error:
            raise _Damaged(_first_line(error)) from error
        like = stored if like is None else like
        wanted = _names(like)
        for name in sorted(wanted.keys() | found.keys()):
            here, there = wanted.get(name), found.get(name)
            if here != there:
                raise CheckpointError(
                    f"{path}: does not fit the configuration: {item} {name} is {there or 'absent'} in the checkpoint "
                    f"and {here or 'absent'} in the network"
                )
        try:
            with _without_late_callbacks():
                # Restored as NumPy arrays: the devices that it was saved from may not be here.
                arrays = reader.restore(path / item, jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like))
        except Exception as error:
            raise _Damaged(_first_line(error)) from error
    if _checksum(arrays) != checksum:
        raise _Damaged(f"the checksum of {item} is wrong")
    return arrays


def _checksum(tree: Any) -> int:
    """Of all bytes of the arrays, as Orbax' format notices not every change of them."""
    value = 0
    for leaf in jax.tree.leaves(tree):
        value = zlib.crc32(np.ascontiguousarray(leaf).data, value)
    return value


@contextlib.contextmanager
def _without_late_callbacks() -> Iterator[None]:
    """Keeps the tracebacks off stderr that Orbax' other reads give when one of them fails and ends the event loop.

    They come late, so that after a failure the hook stays.
    """
    usual = sys.unraisablehook

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            usual(unraisable)

    sys.unraisablehook = hook
    yield
    sys.unraisablehook = usual


def _names(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _over_all_processes(tree: Any) -> Any:
    """Arrays that lie whole on each of this process's devices, as arrays over the devices of all processes.

    That is what Orbax saves, each process a part. Nothing is copied.
    """
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), "batch"), PartitionSpec())

    def whole(array: jax.Array) -> jax.Array:
        parts = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, everywhere, parts)

    return jax.tree.map(whole, tree)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
