"""Amodal instance segmentation: train, evaluate and run networks that see whole objects.

`amodal-jax COMMAND --help` says what a command takes, and explains every field of a configuration that it can change.
"""

import argparse

from amodal_jax import __version__
from amodal_jax.cli import command_line
from amodal_jax.commands import compare, describe, evaluate, export, import_weights, predict, report, train
from amodal_jax.commands.command import Command, add_command, run_command

COMMANDS: dict[str, Command] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "report": report,
    "compare": compare,
    "export": export,
    "import-weights": import_weights,
    "describe": describe,
}


def read_and_run() -> int | None:
    """Reads the command line and runs the command that it names; returns the exit status, None for 0."""
    parser = argparse.ArgumentParser(
        prog="amodal-jax", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"amodal-jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").splitlines()[0]
        add_command(commands.add_parser(name, help=summary, add_help=False), command)
    return run_command(parser)


def main() -> None:
    """The command `amodal-jax`."""
    command_line.run(read_and_run)
