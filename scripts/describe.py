"""Prints a configuration's network as a table: parts, parameters, shapes."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line

_ONE_CLASS = "(with one class; it takes the dataset's)"


def main() -> None:
    """Prints the table of one configuration, or one line for each of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Further arguments change fields: --model.mlc.box-layer 2", allow_abbrev=False
    )
    parser.add_argument("config", nargs="?", help="a configuration's name; none: every one, one line each")
    arguments, overrides = parser.parse_known_args()
    with command_line.importing():
        from amodal_jax.config_json import override
        from amodal_jax.summary import summarise
        from configs import config_names, load_config

    if arguments.config is None:
        for name in config_names():
            config = override(load_config(name), overrides)
            whole = summarise(config)[-1]
            remark = "" if config.model.class_names else f"  {_ONE_CLASS}"
            print(f"{name:28} {whole.parameters:>12,} parameters {whole.frozen:>8,} frozen{remark}")
        return
    config = override(load_config(arguments.config), overrides)
    parts = summarise(config)
    print(f"{'part':20} {'parameters':>12} {'frozen':>8}")
    for part in parts:
        print(f"{part.name:20} {part.parameters:>12,} {part.frozen:>8,}")
    if not config.model.class_names:
        print(_ONE_CLASS)


if __name__ == "__main__":
    command_line.run(main)
