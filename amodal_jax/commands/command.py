"""What a command is, and how its command line is read."""

import argparse
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from amodal_jax.cli.field_help import explain_fields
from amodal_jax.commands.configuration import field_values, load_configuration


@runtime_checkable
class Command(Protocol):
    """A module that is a command; its docstring is the help's first paragraphs."""

    __doc__: str | None
    FIELDS: tuple[str, ...]
    """How the options begin with which it changes fields of a configuration, "--data." for a section, "--" for all."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the other arguments."""

    def run(self, arguments: argparse.Namespace, overrides: list[str]) -> int | None:
        """Does it; `overrides` are the words that change fields. Returns the exit status, None for 0."""


def add_command(parser: argparse.ArgumentParser, command: Command, experiments: str | None = None) -> None:
    """Declares the command line of a command on a parser that has no help of its own.

    Args:
      parser: of the command alone.
      command: what is run.
      experiments: the package with configurations by name; None where there is none, away from a checkout.
    """
    parser.description = command.__doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = not command.FIELDS  # an abbreviation could be a field
    parser.add_argument("-h", "--help", action=_Help, help="show this help and exit")
    command.add_arguments(parser)
    parser.set_defaults(command=command, experiments=experiments, parser=parser)


def run_command(parser: argparse.ArgumentParser) -> int | None:
    """Reads the command line with a parser that has commands, and runs the one that it names."""
    arguments, overrides = parser.parse_known_args()
    if overrides and not arguments.command.FIELDS:
        arguments.parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    return arguments.command.run(arguments, overrides)


def run_alone(command: Command, experiments: str | None = None) -> int | None:
    """Reads the command line of a script that is one command, and runs it; the arguments are those of `add_command`."""
    parser = argparse.ArgumentParser(add_help=False)
    add_command(parser, command, experiments)
    return run_command(parser)


class _Help(argparse.Action):
    """Prints the help, in which every field is explained that the command takes."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        fields = namespace.command.FIELDS
        if fields:
            takes_config = hasattr(namespace, "config")
            named = getattr(namespace, "config", None)
            shown, whose = None, "which without one are the checkpoint's or as the weights expect them"
            if named is not None:
                shown, whose = field_values(load_configuration(named, namespace.experiments)), f"as {named} has them"
            elif takes_config:
                whose = "with their defaults"
            text = explain_fields(fields, shown, with_values=takes_config)
            parser.epilog = f"fields of the configuration that options change, {whose}:\n\n{text}"
        parser.print_help()
        parser.exit()
