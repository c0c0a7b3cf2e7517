"""Writes one html page about a run: its metrics, its loss curves, and predictions beside the ground truth."""

import argparse
from pathlib import Path

from amodal_jax.cli import command_line
from amodal_jax.errors import ConfigError

FIELDS: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --workdir of a training")
    parser.add_argument("--out", type=Path, help="the page; default: report.html in the run directory")
    parser.add_argument("--images", type=int, default=24, help="images in the gallery (default: %(default)s)")


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Writes the page and prints where it is."""
    if arguments.images < 0:
        raise ConfigError(f"--images is {arguments.images}; it has to be 0 or more")
    with command_line.importing():
        from amodal_jax.visualization.report import write_report

    print(write_report(arguments.run_dir, arguments.out, images=arguments.images))
