"""Draws synthetic street scenes with exact amodal masks, as KINS 2020 json and PNG images.

Example: python scripts/dataset.py synthesise --out ../synthetic --train 600 --test 150 --width 621 --height 188
"""

import argparse
import time
from pathlib import Path

from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.cores import usable_cores
from data.synthetic.generate import Request, generate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--out", required=True, type=Path, help="folder to write; must not hold anything else")
    parser.add_argument("--train", type=int, default=600, help="training images (default %(default)s)")
    parser.add_argument("--test", type=int, default=150, help="test images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other scenes for each one (default %(default)s)")
    parser.add_argument("--width", type=int, default=1242, help="pixels (default %(default)s)")
    parser.add_argument("--height", type=int, default=375, help="pixels (default %(default)s)")
    parser.add_argument(
        "--classes", default=",".join(KINS_CLASS_NAMES), metavar="NAME,...", help="of the objects (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (here %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace other synthetic scenes in the folder")


def run(arguments: argparse.Namespace) -> None:
    """Draws what the command line asks for."""
    classes = tuple(name.strip() for name in arguments.classes.split(",") if name.strip())
    request = Request(arguments.train, arguments.test, arguments.seed, arguments.width, arguments.height, classes)
    started = time.monotonic()
    drawn = generate(arguments.out, request, workers=arguments.workers, overwrite=arguments.overwrite)
    if drawn:
        seconds = time.monotonic() - started
        count = request.train + request.test
        print(f"wrote {count} images to {arguments.out} in {seconds:.1f} s ({count / seconds:.1f} images/s)")
    else:
        print(f"{arguments.out} already holds these scenes; reused")
