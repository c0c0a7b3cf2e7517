"""Prints a configuration's network as a table: parts, parameters, shapes."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax import command_line


def main() -> None:
    """Prints the table of one configuration, or one line for each of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Further arguments change fields: --model.mlc.box-layer 2", allow_abbrev=False
    )
    parser.add_argument("config", nargs="?", help="a configuration's name; none: every one, one line each")
    arguments, overrides = parser.parse_known_args()
    with command_line.importing():
        from amodal_jax.config import override
        from amodal_jax.describe import describe
        from configs import config_names, load_config

    if arguments.config is None:
        for name in config_names():
            whole = describe(override(load_config(name), overrides))[-1]
            print(f"{name:28} {whole.parameters:>12,} parameters {whole.frozen:>8,} frozen")
        return
    parts = describe(override(load_config(arguments.config), overrides))
    print(f"{'part':20} {'parameters':>12} {'frozen':>8}  gives")
    for part in parts:
        print(f"{part.name:20} {part.parameters:>12,} {part.frozen:>8,}  {part.outputs}".rstrip())


if __name__ == "__main__":
    command_line.run(main)
