"""Writes an html page of thumbnails with masks to toggle, and filters by class and occlusion.

PATH is a KINS json file of either release, or the folder that scripts/build_dataset.py takes. Open OUT/index.html in a
browser: nothing has to be served.
"""

import argparse
from pathlib import Path

from amodal_jax.errors import ConfigError
from data.browse.page import write_page
from data.commands import options
from data.kins.annotations import read_annotation_file
from data.kins.sources import find_sources
from data.shared.outputs import check_output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="a json file or a folder")
    options.add_out_folder(parser)
    options.add_images(parser)
    options.add_release(parser)
    parser.add_argument("--size", type=int, default=400, help="longest side of a thumbnail in pixels (%(default)s)")
    options.add_force(parser, "replace an earlier page in FOLDER")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Writes the page."""
    if arguments.size < 32:
        raise ConfigError(f"--size is {arguments.size}; thumbnails have at least 32 pixels")
    options.check_images(arguments.images, [arguments.path])
    check_output_folder(arguments.out, force=arguments.force)
    files = [
        (source, read_annotation_file(source.path))
        for source in find_sources(arguments.path, arguments.images, arguments.annotations)
    ]
    written = write_page(
        arguments.out,
        arguments.path.resolve().name,
        files,
        longest_side=arguments.size,
        workers=arguments.workers,
        progress=True,
    )
    print(f"{written.images} images with {written.instances} instances: open {arguments.out / 'index.html'}")
    if written.without_picture:
        print(f"{written.without_picture} images are shown without their picture; `check` says why, --images where")
