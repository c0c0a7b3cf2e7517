"""Writes the page of a run: `amodal-jax report`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.commands import report
from amodal_jax.commands.command import run_alone


def main() -> int | None:
    """Reads the command line and writes the page."""
    return run_alone(report)


if __name__ == "__main__":
    command_line.run(main)
