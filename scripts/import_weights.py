"""Makes a checkpoint of another framework's weights: `amodal-jax import-weights`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.commands import import_weights
from amodal_jax.commands.command import run_alone


def main() -> int | None:
    """Reads the command line and converts."""
    return run_alone(import_weights)


if __name__ == "__main__":
    command_line.run(main)
