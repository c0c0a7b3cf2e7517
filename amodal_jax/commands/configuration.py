"""The configuration that a command line names: a file, a run to follow, or in a checkout an experiment by its name."""

import argparse
import importlib
import runpy
import typing
from pathlib import Path

from amodal_jax.cli import command_line
from amodal_jax.errors import ConfigError, first_line

if typing.TYPE_CHECKING:
    from amodal_jax.config import Config

HELP = "a .py or .json file, a run directory for its configuration, or in a checkout the name of a file in configs"


def add_configuration(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Declares the argument CONFIG, which `load_configuration` takes."""
    parser.add_argument("config", metavar="CONFIG", nargs="?" if optional else None, help=HELP)


def load_configuration(name: str, experiments: str | None) -> "Config":
    """The configuration that CONFIG means.

    Args:
      name: of a file that ends with .json, as `config.json` of a run, or with .py, which defines `get_config()`; of a
        folder with a `config.json`; or of an experiment.
      experiments: the package that has those by name, with its functions `config_names` and `load_config`; None: there
        are none.

    Raises:
      ConfigError: there is no such configuration, or it cannot be used; names it.
    """
    # Imported here, so that a command's help does without JAX.
    path = Path(name).expanduser()
    with command_line.importing():
        package = importlib.import_module(experiments) if experiments else None
    if package and name in package.config_names():
        return package.load_config(name)
    with command_line.importing():
        from amodal_jax.runs.directory import CONFIG_FILE, read_config

    if path.suffix == ".json" and path.is_file():
        return _of_json(path)
    if path.suffix == ".py" and path.is_file():
        return _of_python(path)
    if path.is_dir():
        config = read_config(path)
        if config is None:
            raise ConfigError(f"{name}: no run directory (it has no {CONFIG_FILE}); name the --workdir of a training")
        return config
    if path.suffix in (".json", ".py"):
        raise ConfigError(f"{name}: there is no such file; write it, or name a run directory for its configuration")
    if package:
        return package.load_config(name)  # which says what is known
    raise ConfigError(f'unknown configuration "{name}": name a .py or .json file, or a run directory')


def field_values(config: "Config") -> dict[str, str]:
    """The fields of a configuration by their paths, "model.mask.kind", as they are typed."""
    from amodal_jax.config_json import field_lines

    words = (line.removeprefix("--").split(" ", 1) for line in field_lines(config))
    return {option.replace("-", "_"): value for option, value in words}


def _of_json(path: Path) -> "Config":
    from amodal_jax.config_json import from_json
    from amodal_jax.files.text import read_text

    try:
        return from_json(read_text(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _of_python(path: Path) -> "Config":
    """What `get_config()` of a file returns, which is a program of the user's: any error in it is theirs to mend."""
    from amodal_jax.config import Config

    try:
        found = runpy.run_path(str(path))
        get_config = found.get("get_config")
        if not callable(get_config):
            raise ConfigError("it defines no function get_config()")
        config = get_config()
        if not isinstance(config, Config):
            raise ConfigError(f"get_config() returns no amodal_jax.config.Config, but {type(config).__name__}")
    except Exception as error:
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        raise ConfigError(f"{path}: {kind}{first_line(error)}") from error
    return config
