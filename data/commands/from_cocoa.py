"""Writes COCO-Amodal annotations as KINS json with KITTI's folders, ready for scripts/build_dataset.py.

SOURCE holds one json file for each image, beside the image and under the same name.
"""

import argparse
from pathlib import Path

from amodal_jax.errors import ConfigError
from data.cocoa.convert import convert
from data.commands import conversion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the folder of json files and images")
    conversion.add_arguments(parser)
    parser.add_argument("--include-stuff", action="store_true", help="keep the regions marked as stuff")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="NAME=CLASS", help="join a region name to a class; repeatable"
    )


def run(arguments: argparse.Namespace) -> None:
    """Converts a folder and prints what its names became."""
    renames = dict(_rename(text) for text in arguments.rename)
    summary = convert(
        arguments.source,
        arguments.out,
        include_stuff=arguments.include_stuff,
        renames=renames,
        **conversion.of_all(arguments),
    )
    conversion.print_counts(summary)
    print(f"{len(summary.names)} classes, and the names that they were made of:")
    for class_name, names in summary.names.items():
        print(f"  {class_name}: {', '.join(f'{name!r} x {count}' for name, count in names.items())}")
    if summary.stuff_left_out:
        print(f"{summary.stuff_left_out} regions marked as stuff were left out; --include-stuff keeps them")
    for flaw in summary.flaws:
        print(f"problem: {flaw}")
    print(f"written to {arguments.out}")


def _rename(text: str) -> tuple[str, str]:
    name, separator, class_name = (" ".join(part.lower().split()) for part in text.partition("="))
    if not (name and separator and class_name):
        raise ConfigError(f"--rename {text!r} has to be NAME=CLASS")
    return name, class_name
