"""Writes D2S Amodal (D2SA) or COCOA-cls json as KINS json with KITTI's folders, ready for scripts/build_dataset.py.

Two files become the training and the test split, one is shared out. Clusters and orders are found from the masks.
Example: python scripts/dataset.py from-d2sa training.json validation.json --images images --out d2sa
"""

import argparse
from pathlib import Path

from amodal_jax.errors import ConfigError
from data.commands import conversion
from data.d2sa.convert import convert
from data.orders import derivation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="json of training and test, or one file")
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="where the images lie")
    conversion.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Converts the files and prints what was wrong with them."""
    if len(arguments.files) > 2:
        raise ConfigError("name one file, or that of the training split and that of the test split")
    summary = convert(arguments.files, arguments.images, arguments.out, **conversion.of_all(arguments))
    conversion.print_counts(summary)
    print(f"{len(summary.class_names)} classes: {', '.join(summary.class_names)}")
    for path, read in zip(arguments.files, summary.read, strict=True):
        print(f"{path}:")
        derivation.print_findings(read, "nothing left open: every overlap says which of two is nearer")
    print(f"written to {arguments.out}")
