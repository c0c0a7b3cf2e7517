"""Prints a figure of several runs beside each other: `amodal-jax compare`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.commands import compare
from amodal_jax.commands.command import run_alone


def main() -> int | None:
    """Reads the command line and compares."""
    return run_alone(compare)


if __name__ == "__main__":
    command_line.run(main)
