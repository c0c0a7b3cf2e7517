"""Writes an html page of thumbnails with masks to toggle, and filters by class and occlusion.

PATH is a KINS json file of either release, or the folder that scripts/build_dataset.py takes. Open OUT/index.html in a
browser: nothing has to be served.
"""

import argparse
from pathlib import Path

from amodal_jax.cores import usable_cores
from amodal_jax.errors import ConfigError
from data.kins.annotations import read_annotation_file
from data.kins.browse import write_page
from data.kins.sources import find_sources
from data.outputs import refuse_existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="a json file or a folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to write")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images of a json file lie")
    parser.add_argument("--annotations", choices=["2019", "2020"], help="the release to read where a folder has both")
    parser.add_argument("--size", type=int, default=400, help="longest side of a thumbnail in pixels (%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace an earlier page in FOLDER")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (here %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Writes the page."""
    if arguments.size < 32:
        raise ConfigError(f"--size is {arguments.size}; thumbnails have at least 32 pixels")
    if arguments.images is not None and arguments.path.is_dir():
        raise ConfigError("--images is for json files: a folder says itself where its images lie")
    refuse_existing(arguments.out, force=arguments.force)
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
