"""Everything about datasets but building their records: check, measure, convert and draw them.

python scripts/dataset.py COMMAND ...    (COMMAND --help says what each takes; docs/dataset.md shows all of them)
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax import command_line


def main() -> int | None:
    """Reads the command line and runs the command that it names."""
    with command_line.importing():
        from data.commands.table import COMMANDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        description = command.__doc__ or ""
        command.add_arguments(
            commands.add_parser(
                name,
                help=description.splitlines()[0],
                description=description,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    arguments = parser.parse_args()
    return COMMANDS[arguments.command].run(arguments)


if __name__ == "__main__":
    command_line.run(main)
