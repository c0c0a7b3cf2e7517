"""Writes a labelme project as KINS json with KITTI's folders, ready for scripts/build_dataset.py.

SOURCE holds labelme's json files, in folders too. In labelme, draw every object whole, hidden parts included; label:
the class; group_id: the object, where it has several shapes; description: its depth, 1 for the nearest, where it
overlaps others; flag `visible`: the shape is the visible part of its object. Visible parts that were not drawn follow
from the depths.
"""

import argparse
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.text_file import read_text
from data.commands import conversion
from data.labelme.convert import convert
from data.labelme.shapes import NO_CLASSES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the folder of labelme's json files")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="text file of all classes, one a line, as given to labelme"
    )
    parser.add_argument("--images", type=Path, nargs="+", default=[], metavar="DIR", help="other folders of images")
    parser.add_argument(
        "--keep-folders",
        action="store_true",
        help="leave images in their folders, so that one name may occur in several",
    )
    conversion.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Converts the project and prints what it holds."""
    summary = convert(
        arguments.source,
        arguments.out,
        class_names=_class_names(arguments.labels) if arguments.labels else None,
        image_folders=arguments.images,
        keep_folders=arguments.keep_folders,
        **conversion.of_all(arguments),
    )
    conversion.print_counts(summary)
    print(f"{len(summary.class_names)} classes: {', '.join(summary.class_names)}")
    if summary.stored_anew:
        print(f"{summary.stored_anew} images were in their json files, or no upright PNG or JPEG, and are written anew")
    if summary.ignored:
        print(f"{summary.ignored} shapes labelled {' or '.join(NO_CLASSES)} were left out")
    conversion.print_others(summary.others, "labelme's")
    for flaw in summary.flaws:
        print(f"problem: {flaw}")
    print(f"written to {arguments.out}")


def _class_names(path: Path) -> list[str]:
    names = [" ".join(line.split()) for line in read_text(path).splitlines()]
    names = [name for name in names if name and name not in NO_CLASSES]
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path} has to name each class once, one a line")
    return names
