"""The command line that the converters of images with annotations share."""

import argparse

from amodal_jax.errors import ConfigError
from data.commands import options


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


def test_fraction(arguments: argparse.Namespace) -> float | None:
    """The share of the images for the test split; None for all of them in both.

    Raises:
        ConfigError: it is no share.
    """
    if not 0 < arguments.test_fraction < 1:
        raise ConfigError(f"--test-fraction is {arguments.test_fraction}; it has to lie between 0 and 1")
    return None if arguments.same_images else arguments.test_fraction
