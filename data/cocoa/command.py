"""Writes COCO-Amodal annotations as KINS json with KITTI's folders, ready for scripts/build_dataset.py.

SOURCE is the json file of a split, as COCO-Amodal is released, or a folder of json files, which may be of one image
each, too, beside it and under its name. Two SOURCEs become the training and the test split, one is shared out.
Example: python scripts/dataset.py from-cocoa COCO_amodal_val2014.json --images val2014 --out cocoa
"""

import argparse
from pathlib import Path

from amodal_jax.errors import ConfigError
from data.cocoa.convert import convert
from data.commands import conversion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="json file, or folder of json files")
    parser.add_argument("--images", type=Path, nargs="+", default=[], metavar="DIR", help="other folders of images")
    parser.add_argument("--author", metavar="NAME", help="take this one's annotations, where images have several")
    conversion.add_arguments(parser)
    parser.add_argument("--include-stuff", action="store_true", help="keep the regions marked as stuff")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="NAME=CLASS", help="join a region name to a class; repeatable"
    )
    parser.add_argument(
        "--one-class",
        nargs="?",
        const="object",
        metavar="NAME",
        help="make one class of all names, as detection without classes is compared (%(const)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Converts files and prints what their names became."""
    if len(arguments.sources) > 2:
        raise ConfigError("name one file or folder, or that of the training split and that of the test split")
    renames = dict(_rename(text) for text in arguments.rename)
    one_class = arguments.one_class
    if one_class is not None and (renames or not one_class.strip()):
        raise ConfigError("--one-class needs a name and takes no --rename, as all regions are of that class")
    summary = convert(
        arguments.sources[0],
        arguments.out,
        test_source=arguments.sources[1] if len(arguments.sources) > 1 else None,
        image_folders=arguments.images,
        author=arguments.author,
        include_stuff=arguments.include_stuff,
        renames=renames,
        one_class=None if one_class is None else " ".join(one_class.lower().split()),
        **conversion.of_all(arguments),
    )
    conversion.print_counts(summary)
    if one_class is None:
        print(f"{len(summary.names)} classes, and the names that they were made of:")
        for class_name, names in summary.names.items():
            print(f"  {class_name}: {', '.join(f'{name!r} x {count}' for name, count in names.items())}")
    else:
        print(f"1 class: {', '.join(summary.names)}")
    if summary.stuff_left_out:
        print(f"{summary.stuff_left_out} regions marked as stuff were left out; --include-stuff keeps them")
    if summary.unannotated:
        print(f"{summary.unannotated} images without an annotation were left out")
    conversion.print_others(summary.others, "COCO-Amodal's")
    for flaw in summary.flaws:
        print(f"problem: {flaw}")
    print(f"written to {arguments.out}")


def _rename(text: str) -> tuple[str, str]:
    name, separator, class_name = (" ".join(part.lower().split()) for part in text.partition("="))
    if not (name and separator and class_name):
        raise ConfigError(f"--rename {text!r} has to be NAME=CLASS")
    return name, class_name
