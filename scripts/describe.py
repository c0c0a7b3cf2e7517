"""Prints a network as a table: `amodal-jax describe`, which here knows the configurations of `configs` by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.commands import describe
from amodal_jax.commands.command import run_alone


def main() -> int | None:
    """Reads the command line and describes."""
    return run_alone(describe, experiments="configs")


if __name__ == "__main__":
    command_line.run(main)
