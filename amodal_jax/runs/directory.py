"""What is where in a run directory.

It holds `config.json`, `metrics.jsonl`, and `checkpoints`, in it `last` with the newest ones and `best` with the one
that evaluated best, each a folder named by its step. One of the same step is called `STEP.replaced` between the two
renamings that put a new one in its place, and is read there.
"""

import os
from pathlib import Path
from typing import Literal

from amodal_jax.config import Config
from amodal_jax.config_json import from_json, to_json
from amodal_jax.errors import CheckpointError, ConfigError, DataError
from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.files.text import read_text
from amodal_jax.runs import parameters_file

CONFIG_FILE = "config.json"
REPLACED = ".replaced"
"""The ending of a checkpoint's name while it is replaced."""

Kind = Literal["last", "best"]
_EVALUATIONS: dict[Kind, str] = {"last": "evaluation", "best": "evaluation_best"}


def read_config(run_dir: Path) -> Config | None:
    """The configuration in `config.json` of a run directory; None where there is none.

    Raises:
      ConfigError: the file cannot be read as one; names it.
    """
    path = run_dir / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        text = read_text(path)
    except DataError as error:
        raise ConfigError(str(error)) from error
    try:
        return from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def write_config(workdir: Path, config: Config) -> None:
    """Writes `config.json` of a run directory, which is made if need be."""
    make_folder(workdir)
    write_atomically(workdir / CONFIG_FILE, to_json(config) + "\n")


def run_of(path: str | os.PathLike[str], *, kind: Kind = "last") -> tuple[Path, Kind] | None:
    """The run directory of what `load_checkpoint` takes, and of which kind that is; None for a checkpoint in no run."""
    place = Path(path).expanduser().absolute()
    if not is_checkpoint(place):
        return place, kind
    kinds = [kind for kind in _EVALUATIONS if place.parent == checkpoints_folder(place.parents[2], kind)]
    return (place.parents[2], kinds[0]) if kinds else None


def evaluation_folder(workdir: Path, kind: Kind) -> Path:
    """Where in a run directory the evaluation of its last or its best checkpoint is written."""
    return workdir / _EVALUATIONS[kind]


def checkpoints_folder(workdir: Path, kind: Kind) -> Path:
    """The folder of a run's checkpoints of one kind."""
    return workdir.absolute() / "checkpoints" / kind


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first."""
    if not folder.is_dir():
        return []
    steps = {step_of(path) for path in folder.iterdir() if path.name.removesuffix(REPLACED).isdecimal()}
    return sorted(steps, reverse=True)


def step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(path.name.removesuffix(REPLACED))


def place_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    place = folder / str(step)
    replaced = folder / f"{step}{REPLACED}"
    return replaced if replaced.exists() and not place.exists() else place


def existing_place(path: str | os.PathLike[str]) -> Path:
    """A path that a user has given, which has to be a folder or a checkpoint.

    Raises:
      CheckpointError: it is a file, or nothing is there.
    """
    place = Path(path).expanduser().absolute()
    if place.is_file():
        raise CheckpointError(
            f"{place}: is a file; checkpoints are folders, which amodal-jax import-weights (in a checkout, "
            "scripts/import_weights.py) makes of files of weights"
        )
    if not place.is_dir() and not is_checkpoint(place):
        raise CheckpointError(
            f"{place}: there is no such folder; name the --workdir of a training, or a checkpoint in it"
        )
    return place


def is_export(path: Path) -> bool:
    """Whether a folder is that of an exported network."""
    return (path / parameters_file.FILE_NAME).is_file()


def is_checkpoint(path: Path) -> bool:
    """Whether a path is that of a checkpoint."""
    return path.name.isdecimal() and (place_of(path.parent, int(path.name)) / "info").exists()
