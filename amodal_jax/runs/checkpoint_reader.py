"""Reading checkpoints, by Orbax; of a run the newest good one, or the best."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from amodal_jax.config import Config
from amodal_jax.config_json import from_json
from amodal_jax.errors import CheckpointError, ConfigError, first_line
from amodal_jax.network import Variables, build_network, initialise
from amodal_jax.parallel.processes import synchronise
from amodal_jax.runs import parameters_file
from amodal_jax.runs.checkpoint import Checkpoint, checksum_of
from amodal_jax.runs.directory import (
    CONFIG_FILE,
    Kind,
    checkpoint_steps,
    checkpoints_folder,
    existing_place,
    is_checkpoint,
    is_export,
    place_of,
    read_config,
    step_of,
)

_logger = logging.getLogger(__name__)


def last_config(workdir: Path) -> Config | None:
    """The configuration of the run's newest good checkpoint; None where it has no checkpoint.

    Raises:
      CheckpointError: there are checkpoints, but none is good, or the configuration is of another version of this
        package.
    """
    folder = checkpoints_folder(workdir, "last")
    return _first_good(folder, lambda path: _config_of(path, _read_info(path))) if checkpoint_steps(folder) else None


def best_evaluation(workdir: Path) -> tuple[Config, dict[str, float]] | None:
    """The configuration and figures of the run's best checkpoint; None where it has none, or only damaged ones.

    Damaged ones are said.
    """

    def read(path: Path) -> tuple[Config, dict[str, float]]:
        info = _read_info(path)
        return _config_of(path, info), info["metrics"]

    try:
        return _first_good(checkpoints_folder(workdir, "best"), read)
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
    folder = checkpoints_folder(workdir, "last")
    steps = checkpoint_steps(folder)
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
            step=step_of(path),
            variables=_read_arrays(path, "variables", variables, info["checksums"]["variables"]),
            optimizer_state=_read_arrays(path, "optimizer", optimizer_state, info["checksums"]["optimizer"]),
            position=info["position"],
            metrics=info["metrics"],
            unlogged=info["unlogged"],
        )

    checkpoint = _first_good(folder, read)
    synchronise("restored")
    if jax.process_index() == 0:
        for step in (step for step in steps if step > checkpoint.step):
            damaged = folder.with_name("damaged") / str(step)
            damaged.parent.mkdir(exist_ok=True)
            shutil.rmtree(damaged, ignore_errors=True)
            os.replace(place_of(folder, step), damaged)
    synchronise("damaged checkpoints moved")
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
        return config, arrays, step_of(path)

    place = existing_place(path)
    if is_export(place):
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

    place = existing_place(path)
    if is_export(place):
        return load_checkpoint(place)[:2]
    return _read_place(place, kind, read)


def checkpoint_config(path: str | os.PathLike[str], *, kind: Kind = "last") -> Config:
    """The configuration alone of what `load_variables` reads, which raises the same."""
    place = existing_place(path)
    exported = read_config(place) if is_export(place) else None
    return exported or _read_place(place, kind, lambda path: _config_of(path, _read_info(path)))


def _read_place(place: Path, kind: Kind, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a checkpoint's folder, or of the first good one of a run directory."""
    if is_checkpoint(place):
        return _first_good(place.parent, read, steps=[int(place.name)])
    folder = checkpoints_folder(place, kind)
    if not folder.is_dir() and not checkpoints_folder(place, "last").is_dir():
        raise CheckpointError(f"{place}: has no checkpoints; name the --workdir of a training, or a checkpoint of it")
    if kind == "best" and not checkpoint_steps(folder):
        raise CheckpointError(f"{folder}: there is no checkpoint, for the run has not been evaluated while it trained")
    return _first_good(folder, read)


def _shapes(config: Config) -> Variables:
    """The shapes of the variables of a configuration's network."""
    network = build_network(config)
    return jax.eval_shape(lambda key: initialise(network, config, key), jax.random.key(0))


class _Damaged(Exception):
    """A checkpoint that cannot be read."""


def _first_good(folder: Path, read, steps: list[int] | None = None):
    """What `read` gives for the first of the steps (all, newest first) for which it does not raise `_Damaged`."""
    seen = _last_change(folder)
    candidates = checkpoint_steps(folder) if steps is None else steps
    if not candidates:
        raise CheckpointError(f"{folder}: there is no checkpoint")
    for step in candidates:
        try:
            result = read(place_of(folder, step))
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
        try:
            # Restored as NumPy arrays: the devices that it was saved from may not be here.
            arrays = reader.restore(path / item, jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like))
        except Exception as error:
            raise _Damaged(first_line(error)) from error
    if checksum_of(arrays) != checksum:
        raise _Damaged(f"the checksum of {item} is wrong")
    return arrays


def _names(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}
