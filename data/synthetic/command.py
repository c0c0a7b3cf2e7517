"""Draws synthetic street scenes with exact amodal masks, as KINS 2020 json and PNG images.

Example: python scripts/dataset.py synthesise --out ../synthetic --images 1000 --seed 1
"""

import argparse
import time
from pathlib import Path

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.errors import ConfigError
from data.commands import options
from data.synthetic.generate import Request, generate
from data.synthetic.photographs import find_photographs
from data.synthetic.scene import TRAFFIC


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    options.add_out_folder(parser)
    parser.add_argument(
        "--images", type=int, default=1000, metavar="N", help="number of images, of both splits (%(default)s)"
    )
    parser.add_argument(
        "--test-images", type=int, metavar="N", help="how many of them are for the test split (a fifth, one at least)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other scenes for each one (%(default)s)")
    parser.add_argument("--width", type=int, default=1242, help="of an image, in pixels (%(default)s)")
    parser.add_argument("--height", type=int, default=375, help="of an image, in pixels (%(default)s)")
    parser.add_argument(
        "--classes", default=",".join(KINS_CLASS_NAMES), metavar="NAME,...", help="of the objects (%(default)s)"
    )
    parser.add_argument(
        "--traffic",
        choices=list(TRAFFIC),
        default="kins",
        help="kins: objects, classes and occlusions as in KINS; light: a few large objects, all classes common "
        "(%(default)s)",
    )
    parser.add_argument(
        "--backgrounds",
        type=Path,
        metavar="DIR",
        help="draw the objects on parts of these photographs of empty streets, horizon in the middle",
    )
    options.add_force(parser, "replace other synthetic scenes in FOLDER")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Draws what the command line asks for."""
    classes = tuple(name.strip() for name in arguments.classes.split(",") if name.strip())
    test = max(1, arguments.images // 5) if arguments.test_images is None else arguments.test_images
    if not 1 <= test < arguments.images:
        raise ConfigError(f"of {arguments.images} images {test} are for the test split: each split needs one at least")
    photographs = find_photographs(arguments.backgrounds) if arguments.backgrounds else None
    request = Request(
        train=arguments.images - test,
        test=test,
        seed=arguments.seed,
        width=arguments.width,
        height=arguments.height,
        classes=classes,
        traffic=arguments.traffic,
        photographs=photographs.sha256 if photographs else None,
    )
    started = time.monotonic()
    drawn = generate(arguments.out, request, photographs=photographs, workers=arguments.workers, force=arguments.force)
    if drawn:
        seconds = time.monotonic() - started
        print(f"wrote {arguments.images} images to {arguments.out} in {seconds:.1f} s")
    else:
        print(f"{arguments.out} already holds these scenes; reused")
