"""Writes COCO-Amodal annotations as KINS json with KITTI's folders, ready for scripts/build_dataset.py.

SOURCE holds one json file for each image, beside the image and under the same name.
"""

import argparse
from pathlib import Path

from amodal_jax.errors import ConfigError
from data.cocoa.convert import convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("source", type=Path, help="the folder of json files and images")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    splits = parser.add_mutually_exclusive_group()
    splits.add_argument(
        "--test-fraction", type=float, default=0.2, help="share of the images for the test split (%(default)s)"
    )
    splits.add_argument("--same-images", action="store_true", help="put every image into both splits")
    parser.add_argument("--include-stuff", action="store_true", help="keep the regions marked as stuff")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="NAME=CLASS", help="join a region name to a class; repeatable"
    )
    parser.add_argument("--link", action="store_true", help="link the images instead of copying them")


def run(arguments: argparse.Namespace) -> None:
    """Converts a folder and prints what its names became."""
    if not 0 < arguments.test_fraction < 1:
        raise ConfigError(f"--test-fraction is {arguments.test_fraction}; it has to lie between 0 and 1")
    renames = dict(_rename(text) for text in arguments.rename)
    summary = convert(
        arguments.source,
        arguments.out,
        test_fraction=None if arguments.same_images else arguments.test_fraction,
        include_stuff=arguments.include_stuff,
        renames=renames,
        link_images=arguments.link,
    )
    for split, images in summary.images.items():
        print(f"{split}: {images} images, {summary.instances[split]} instances")
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
