"""The command line that the converters of images with annotations share."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amodal_jax.errors import ConfigError
from data.commands import options
from data.kins.scenes import Written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where the dataset goes and how its images are shared out."""
    options.add_out_folder(parser)
    splits = parser.add_mutually_exclusive_group()
    splits.add_argument(
        "--test-fraction",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the images for the test split (%(default)s)",
    )
    splits.add_argument("--same-images", action="store_true", help="put every image into both splits")
    parser.add_argument("--link", action="store_true", help="link the images instead of copying them")
    options.add_force(parser, "write into a folder that is there already")
    options.add_workers(parser)


def of_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of this, as every `convert` takes it.

    Raises:
        ConfigError: the share of the images for the test split is none.
    """
    if not 0 < arguments.test_fraction < 1:
        raise ConfigError(f"--test-fraction is {arguments.test_fraction}; it has to lie between 0 and 1")
    return {
        "test_fraction": None if arguments.same_images else arguments.test_fraction,
        "link_images": arguments.link,
        "force": arguments.force,
        "workers": arguments.workers,
        "progress": True,
    }


def print_counts(written: Written, what: str = "instances") -> None:
    """Prints how much was written."""
    for split, images in written.images.items():
        print(f"{split}: {images} images, {written.instances[split]} {what}")


def print_others(paths: Sequence[Path], whose: str) -> None:
    """Prints which json files were left out as they are not of the form that is converted."""
    if paths:
        listed = ", ".join(map(str, paths[:5])) + (", ..." if len(paths) > 5 else "")
        print(f"{len(paths)} json files that are not {whose} were left out: {listed}")
