"""Checkpoints of a run, by Orbax, which nothing else knows.

A run directory holds `config.json` and `checkpoints`, in it `last` with the newest ones and `best` with the one that
evaluated best. A checkpoint is a folder named by its step that holds everything that is needed to use it and to go on
from it: the network's variables, the optimiser's state, and a JSON with the configuration, the position in the data
and, in `best`, the evaluation's figures. Orbax writes to a temporary folder and renames it when it is whole. One of the
same step is called `STEP.replaced` between the two renamings that put a new one in its place, and is read there.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax import parameters_file
from amodal_jax.atomic_file import make_folder, replacing, write_atomically
from amodal_jax.build import Variables, build_detector, initialise
from amodal_jax.config import CONFIG_FILE, Config, from_json, read_config, to_json
from amodal_jax.errors import CheckpointError, ConfigError, first_line

# Orbax warns of its own defaults, and logs what it raises as well; asyncio logs what else goes wrong because of that.
absl.logging.set_verbosity(absl.logging.FATAL)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
_logger = logging.getLogger(__name__)

Kind = Literal["last", "best"]
_EVALUATIONS: dict[Kind, str] = {"last": "evaluation", "best": "evaluation_best"}  # folders of a run directory
_ITEMS = ("variables", "optimizer", "info")
_LATE_WRITES = 10.0  # seconds
_REPLACED = ".replaced"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    step: int
    variables: Variables
    optimizer_state: Any | None  # None where there is only a network, to use or to start from, and no run to go on with
    position: dict[str, Any] | None  # of the training data, where its iterator has one; must be JSON
    metrics: dict[str, float] | None = None  # of the evaluation, in `best`
    unlogged: dict[str, float] | None = None  # sums of the figures of steps whose average is still to be logged


class CheckpointWriter:
    """Saves the checkpoints of one kind in the background.

    With several processes every one has to make the same calls, and the run directory has to be on a file system that
    they share.
    """

    def __init__(self, workdir: Path, kind: Kind, config: Config):
        self._folder = _folder(workdir, kind)
        self._config = config
        keep = config.train.keep_checkpoints if kind == "last" else 1
        # On the same file system as the folder, and not in it, where one of this step is.
        self._replacements = self._folder.with_name(f"{kind}.replacements")
        _ignore_late_callbacks()
        try:
            self._tidy()  # what a killed process has left
            _synchronise("checkpoints tidied")
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
            "checksums": {name: _checksum(tree) for name, tree in arrays.items()},
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
            os.replace(place, f"{place}{_REPLACED}")  # only a folder that is empty can be replaced at one go
            os.replace(self._replacements / str(step), place)
            self._tidy()
        _synchronise("checkpoint replaced")
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
        steps = _steps(self._folder)
        good = f"the newest good one is of step {steps[0]}" if steps else "there is no good one yet"
        return CheckpointError(
            f"{self._folder}: a checkpoint could not be written ({_reason(error)}); {good}. "
            "Mend this, then run the same command again"
        )

    def _tidy(self) -> None:
        """Removes what is unfinished, and puts back or removes what was being replaced."""
        if jax.process_index() != 0:
            return
        for replaced in self._folder.glob(f"*{_REPLACED}"):
            place = replaced.with_suffix("")
            if not place.exists():
                os.replace(replaced, place)
        for rest in (
            *self._folder.glob("*.orbax-checkpoint-tmp*"),
            *self._folder.glob(f"*{_REPLACED}"),
            self._replacements,
        ):
            shutil.rmtree(rest, ignore_errors=True)


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    # Where folders are made in the background and one cannot be, Orbax's other threads wait for it for minutes.
    in_background = ocp.AsyncOptions(create_directories_asynchronously=False)
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, async_options=in_background)
    return ocp.CheckpointManager(folder, item_names=_ITEMS, options=options)


def _synchronise(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def _await_orbax() -> None:
    """Waits for Orbax's threads, of which the first one that fails is heard of while others still make files."""
    end = time.monotonic() + _LATE_WRITES
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("orbax."):
            threading.Thread.join(thread, max(0.0, end - time.monotonic()))  # its own `join` raises what it has met


def write_config(workdir: Path, config: Config) -> None:
    """Writes `config.json` of a run directory, which is made if need be."""
    make_folder(workdir)
    write_atomically(workdir / CONFIG_FILE, to_json(config) + "\n")


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


def last_config(workdir: Path) -> Config | None:
    """The configuration of the run's newest good checkpoint; None where it has no checkpoint.

    Raises:
      CheckpointError: there are checkpoints, but none is good, or the configuration is of another version of this
        package.
    """
    folder = _folder(workdir, "last")
    return _first_good(folder, lambda path: _config_of(path, _read_info(path))) if _steps(folder) else None


def best_evaluation(workdir: Path) -> tuple[Config, dict[str, float]] | None:
    """The configuration and figures of the run's best checkpoint; None where it has none, or only damaged ones.

    Damaged ones are said.
    """

    def read(path: Path) -> tuple[Config, dict[str, float]]:
        info = _read_info(path)
        return _config_of(path, info), info["metrics"]

    try:
        return _first_good(_folder(workdir, "best"), read)
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
            step=_step(path),
            variables=_read_arrays(path, "variables", variables, info["checksums"]["variables"]),
            optimizer_state=_read_arrays(path, "optimizer", optimizer_state, info["checksums"]["optimizer"]),
            position=info["position"],
            metrics=info["metrics"],
            unlogged=info["unlogged"],
        )

    checkpoint = _first_good(folder, read)
    _synchronise("restored")
    if jax.process_index() == 0:
        for step in (step for step in steps if step > checkpoint.step):
            damaged = folder.with_name("damaged") / str(step)
            damaged.parent.mkdir(exist_ok=True)
            shutil.rmtree(damaged, ignore_errors=True)
            os.replace(_place(folder, step), damaged)
    _synchronise("damaged checkpoints moved")
    return checkpoint


def load_checkpoint(path: str | os.PathLike[str], *, kind: Kind = "last") -> tuple[Config, Variables, int]:
    """The configuration, variables (on the host) and step of a checkpoint.

    Args:
      path: a run directory, the folder of one checkpoint, or one that `export.export_network` wrote.
      kind: of a run directory the newest checkpoint, or the best one.

    Raises:
      CheckpointError: there is none, none is good, its parameters are not those of its configuration, or they are a
        backbone's alone.
    """

    def read(path: Path) -> tuple[Config, Variables, int]:
        info = _read_info(path)
        config = _config_of(path, info)
        if not config.model.class_names:
            raise CheckpointError(
                f"{path}: holds a backbone alone, which finds no objects; initialise a training from it"
            )
        arrays = _read_arrays(path, "variables", _shapes(config), info["checksums"]["variables"])
        return config, arrays, _step(path)

    place = _existing(path)
    if _is_export(place):
        if kind == "best":
            raise CheckpointError(
                f"{place}: is an export, which holds one checkpoint and no best one; do without --best"
            )
        exported_config = read_config(place)
        if exported_config is None:
            raise CheckpointError(f"{place}: has {parameters_file.FILE_NAME}, but no {CONFIG_FILE} beside it")
        variables, step = parameters_file.read_parameters(place / parameters_file.FILE_NAME, _shapes(exported_config))
        return exported_config, variables, step
    return _read_place(place, kind, read)


def load_variables(path: str | os.PathLike[str], *, kind: Kind = "last") -> tuple[Config, Variables]:
    """The configuration and the variables (on the host) of a checkpoint as they are, to initialise a training from.

    They may be a backbone's alone; the configuration then names no classes.

    Args:
      path: as for `load_checkpoint`.
      kind: of a run directory the newest checkpoint, or the best one.

    Raises:
      CheckpointError: there is none, or none is good.
    """

    def read(path: Path) -> tuple[Config, Variables]:
        info = _read_info(path)
        return _config_of(path, info), _read_arrays(path, "variables", None, info["checksums"]["variables"])

    place = _existing(path)
    if _is_export(place):
        return load_checkpoint(place)[:2]
    return _read_place(place, kind, read)


def checkpoint_config(path: str | os.PathLike[str], *, kind: Kind = "last") -> Config:
    """The configuration alone of what `load_variables` reads, which raises the same."""
    place = _existing(path)
    exported = read_config(place) if _is_export(place) else None
    return exported or _read_place(place, kind, lambda path: _config_of(path, _read_info(path)))


def _existing(path: str | os.PathLike[str]) -> Path:
    place = Path(path).expanduser().absolute()
    if place.is_file():
        raise CheckpointError(
            f"{place}: is a file; checkpoints are folders, which scripts/import_weights.py makes of files of weights"
        )
    if not place.is_dir() and not _is_checkpoint(place):
        raise CheckpointError(
            f"{place}: there is no such folder; name the --workdir of a training, or a checkpoint in it"
        )
    return place


def _read_place(place: Path, kind: Kind, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a checkpoint's folder, or of the first good one of a run directory."""
    if _is_checkpoint(place):
        return _first_good(place.parent, read, steps=[int(place.name)])
    folder = _folder(place, kind)
    if not folder.is_dir() and not _folder(place, "last").is_dir():
        raise CheckpointError(f"{place}: has no checkpoints; name the --workdir of a training, or a checkpoint of it")
    if kind == "best" and not _steps(folder):
        raise CheckpointError(f"{folder}: there is no checkpoint, for the run has not been evaluated while it trained")
    return _first_good(folder, read)


def _shapes(config: Config) -> Variables:
    """The shapes of the variables of a configuration's network."""
    detector = build_detector(config)
    return jax.eval_shape(lambda key: initialise(detector, config, key), jax.random.key(0))


def run_of(path: str | os.PathLike[str], *, kind: Kind = "last") -> tuple[Path, Kind] | None:
    """The run directory of what `load_checkpoint` takes, and of which kind that is; None for a checkpoint in no run."""
    place = Path(path).expanduser().absolute()
    if not _is_checkpoint(place):
        return place, kind
    kinds = [kind for kind in _EVALUATIONS if place.parent == _folder(place.parents[2], kind)]
    return (place.parents[2], kinds[0]) if kinds else None


def evaluation_folder(workdir: Path, kind: Kind) -> Path:
    """Where in a run directory the evaluation of its last or its best checkpoint is written."""
    return workdir / _EVALUATIONS[kind]


def _is_export(path: Path) -> bool:
    return (path / parameters_file.FILE_NAME).is_file()


def _is_checkpoint(path: Path) -> bool:
    return path.name.isdecimal() and (_place(path.parent, int(path.name)) / "info").exists()


def _folder(workdir: Path, kind: Kind) -> Path:
    return workdir.absolute() / "checkpoints" / kind


def _steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first."""
    if not folder.is_dir():
        return []
    steps = {_step(path) for path in folder.iterdir() if path.name.removesuffix(_REPLACED).isdecimal()}
    return sorted(steps, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removesuffix(_REPLACED))


def _place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    place = folder / str(step)
    replaced = folder / f"{step}{_REPLACED}"
    return replaced if replaced.exists() and not place.exists() else place


class _Damaged(Exception):
    """A checkpoint that cannot be read."""


def _first_good(folder: Path, read, steps: list[int] | None = None):
    """What `read` gives for the first of the steps (all, newest first) for which it does not raise `_Damaged`."""
    seen = _last_change(folder)
    candidates = _steps(folder) if steps is None else steps
    if not candidates:
        raise CheckpointError(f"{folder}: there is no checkpoint")
    for step in candidates:
        try:
            result = read(_place(folder, step))
        except _Damaged as error:
            if _last_change(folder) != seen:  # a training has put another one in the place of what was being read
                return _first_good(folder, read, steps)
            _logger.warning("%s: this checkpoint is damaged (%s)", folder / str(step), error)
            continue
        if step != candidates[0]:
            _logger.warning("%s: the last good checkpoint, of step %d, is used", folder, step)
        return result
    raise CheckpointError(f"{folder}: no good checkpoint: {', '.join(map(str, candidates))} cannot be read")


def _last_change(folder: Path) -> int | None:
    """When an entry of a folder was made, renamed or removed last; None where there is no folder."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _read_info(path: Path) -> dict[str, Any]:
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            info = reader.restore(path / "info")
        needed = {name: info[name] for name in ("config", "position", "metrics", "checksums")}
        return needed | {"unlogged": info.get("unlogged")}  # which the first checkpoints of this format do not have
    except Exception as error:
        raise _Damaged(first_line(error)) from error


def _config_of(path: Path, info: dict[str, Any]) -> Config:
    try:
        return from_json(info["config"])
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{path}: its configuration cannot be used: {error}") from error


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
            raise _Damaged(first_line(error)) from error
        like = stored if like is None else like
        wanted = _names(like)
        for name in sorted(wanted.keys() | found.keys()):
            here, there = wanted.get(name), found.get(name)
            if here != there:
                raise CheckpointError(
                    f"{path}: does not fit the configuration: {item} {name} is {there or 'absent'} in the checkpoint "
                    f"and {here or 'absent'} in the network"
                )
        _ignore_late_callbacks()
        try:
            # Restored as NumPy arrays: the devices that it was saved from may not be here.
            arrays = reader.restore(path / item, jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like))
        except Exception as error:
            raise _Damaged(first_line(error)) from error
    if _checksum(arrays) != checksum:
        raise _Damaged(f"the checksum of {item} is wrong")
    return arrays


def _checksum(tree: Any) -> int:
    """Of all bytes of the arrays, as Orbax' format notices not every change of them."""
    value = 0
    for leaf in jax.tree.leaves(tree):
        value = zlib.crc32(np.ascontiguousarray(leaf).data, value)
    return value


def _ignore_late_callbacks() -> None:
    """Keeps the tracebacks off stderr that Orbax' other reads or writes give when one of them fails.

    It ends the event loop that they are to report to. They come late, so that the hook stays.
    """
    usual = sys.unraisablehook
    if getattr(usual, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, usual)


def _unraisable(usual: Callable[[Any], Any], unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        usual(unraisable)


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


def _reason(error: Exception) -> str:
    """Why a write has failed, which TensorStore says at the end of what it was about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text, of_system, _ = first_line(error).partition(" [os_error_code=")
    return text.rpartition(": ")[2] if of_system else text
