"""Prints a configuration's network as a table: its parts' parameters, or with --depth its modules and their shapes.

Without CONFIG, in a checkout, every experiment of `configs` is listed in a line.
"""

import argparse
import importlib
import shutil

from amodal_jax.cli import command_line
from amodal_jax.commands.configuration import add_configuration, load_configuration
from amodal_jax.errors import ConfigError, require

FIELDS: tuple[str, ...] = ("--",)
_ONE_CLASS = "(with one class; it takes the dataset's)"
_NARROWEST = 160  # characters of the table of modules, under which names and shapes are cut off


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    add_configuration(parser, optional=True)
    parser.add_argument(
        "--depth", type=int, metavar="N", help="print the modules with their shapes: 1 the branches, 2 their layers"
    )


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints the table of one configuration, or one line for each of them."""
    if arguments.config is not None:
        _describe(arguments, overrides)
        return
    if arguments.experiments is None or arguments.depth is not None:
        raise ConfigError("name a CONFIG: a .py or .json file, or a run directory")
    with command_line.importing():
        from amodal_jax.config_json import override
        from amodal_jax.summary import summarise

        experiments = importlib.import_module(arguments.experiments)
    for name in experiments.config_names():
        config = override(experiments.load_config(name), overrides)
        whole = summarise(config)[-1]
        remark = "" if config.model.class_names else f"  {_ONE_CLASS}"
        print(f"{name:28} {whole.parameters:>12,} parameters {whole.frozen:>8,} frozen{remark}")


def _describe(arguments: argparse.Namespace, overrides: list[str]) -> None:
    config = load_configuration(arguments.config, arguments.experiments)
    with command_line.importing():
        from amodal_jax.config_json import override
        from amodal_jax.summary import layers, summarise

    config = override(config, overrides)
    if arguments.depth is not None:
        require(arguments.depth > 0, "--depth", f"is {arguments.depth}; it has to be positive")
        print(layers(config, arguments.depth, width=max(shutil.get_terminal_size().columns, _NARROWEST)))
    else:
        print(f"{'part':20} {'parameters':>12} {'frozen':>8}")
        for part in summarise(config):
            print(f"{part.name:20} {part.parameters:>12,} {part.frozen:>8,}")
    if not config.model.class_names:
        print(_ONE_CLASS)
