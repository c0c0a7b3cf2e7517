"""Trains a network, or goes on with a run: the same command again resumes it.

The configurations of a checkout are of KINS; --preset puts the sizes and the published schedule of D2SA, COCOA or
COCOA-cls in one, in epochs of the dataset that is trained on.

A run goes on from its own last checkpoint; one that has none starts from the weights of CHECKPOINT, another run or what
import-weights wrote, or else from random ones. What those weights expect of the network (the image's normalisation, the
place of the strides, the anchors and so on) replaces CONFIG's fields, and options of the command line,
--section.field value, replace both. What became of every layer is printed, and written to DIR/init.json.

SIGTERM or Ctrl-C saves a checkpoint and ends with status 0; the same command goes on from there. What follows is then
what would have followed without the stop: on CPUs to the last bit, on GPUs but for rounding, as their atomic additions
come in any order and make any two runs differ so. On several machines, start one process on each, which takes all of
its GPUs, or one for each GPU: by srun or mpirun with --distributed, or by hand with --coordinator, --processes and
--process. DIR must be on a file system that all of them see.
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

from amodal_jax.cli import command_line
from amodal_jax.commands.configuration import add_configuration, load_configuration
from amodal_jax.errors import ConfigError

FIELDS: tuple[str, ...] = ("--",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    add_configuration(parser)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run directory")
    parser.add_argument("--preset", metavar="DATASET", help="in a checkout a file of configs/presets: d2sa, cocoa, ...")
    parser.add_argument(
        "--init", type=Path, metavar="CHECKPOINT", help="another run, whose weights this one starts from"
    )
    command_line.add_process_arguments(parser)


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Trains."""
    named = load_configuration(arguments.config, arguments.experiments)
    preset = None if arguments.preset is None else _load_preset(arguments.preset, arguments.experiments)
    from amodal_jax.config_json import override

    config = override(named, overrides)  # what is mistyped is said before the processes join
    command_line.keep_compilations()
    command_line.join_processes(arguments)
    with command_line.importing():
        from amodal_jax.input_pipeline.records import split_size
        from amodal_jax.train import train
        from amodal_jax.training.start import config_to_start_from

        importlib.import_module("amodal_jax.input_pipeline.batches")  # which training imports, with TensorFlow

    if preset is not None:
        named = preset.apply(named, split_size(config, config.data.train_split))
    if arguments.init is not None:
        named = config_to_start_from(arguments.init, named, arguments.workdir)
    train(override(named, overrides), arguments.workdir, init=arguments.init)


def _load_preset(name: str, experiments: str | None) -> Any:
    if experiments is None:
        raise ConfigError(f"--preset {name}: presets are in a checkout, whose scripts/train.py knows them")
    with command_line.importing():
        presets = importlib.import_module(f"{experiments}.presets")
    return presets.load_preset(name)
