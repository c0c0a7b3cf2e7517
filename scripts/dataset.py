"""Everything about datasets but building their records: check, measure, convert and draw them.

python scripts/dataset.py COMMAND ...    (COMMAND --help says what each takes; docs/dataset.md shows all of them)
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from data.browse import command as browse
from data.check import command as check
from data.cocoa import command as from_cocoa
from data.d2sa import command as from_d2sa
from data.exports import command_coco as to_coco
from data.exports import command_kitti_instances as to_kitti_instances
from data.kitti3d import command as from_kitti3d
from data.labelme import command as from_labelme
from data.orders import command as orders
from data.orders import command_inmodal as inmodal
from data.statistics import command as statistics
from data.synthetic import command as synthesise
from data.vote import command as vote

COMMANDS = {
    "browse": browse,
    "check": check,
    "from-cocoa": from_cocoa,
    "from-d2sa": from_d2sa,
    "from-kitti3d": from_kitti3d,
    "from-labelme": from_labelme,
    "inmodal": inmodal,
    "orders": orders,
    "statistics": statistics,
    "synthesise": synthesise,
    "to-coco": to_coco,
    "to-kitti-instances": to_kitti_instances,
    "vote": vote,
}


def main() -> int | None:
    """Reads the command line and runs the command that it names."""
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
