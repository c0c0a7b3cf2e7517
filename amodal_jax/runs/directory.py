"""What is where in a run directory."""

from pathlib import Path

from amodal_jax.config import Config
from amodal_jax.config_json import from_json
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.files.text import read_text

CONFIG_FILE = "config.json"


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
