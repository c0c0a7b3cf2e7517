"""Finds the objects in images: an overlay NAME.png and a NAME.json for each.

Images may be of any size and kind (grey, RGBA and 16-bit ones too). One that cannot be read is reported and skipped,
and the exit status is then 1.
"""

import argparse
from pathlib import Path

from amodal_jax.cli import command_line

FIELDS: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="a run, or one of its checkpoints"
    )
    parser.add_argument("--best", action="store_true", help="the run's best checkpoint, not its last")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, help="of the objects in overlays and maps (%(default)s)"
    )
    parser.add_argument(
        "--instance-maps", action="store_true", help="write KITTI's instance maps, DIR/instance/NAME.png, too"
    )
    parser.add_argument(
        "--flip", action="store_true", help="look at each image's mirror image as well, which takes twice the time"
    )
    parser.add_argument("--class-ids", choices=("kitti", "own"), default="kitti", help="in the maps (%(default)s)")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Predicts; the exit status is 1 if an image could not be read."""
    # Imported here, so that --help and a mistyped path do without JAX.
    with command_line.importing():
        from amodal_jax.predict import Predictor
        from amodal_jax.predict_files import find_images, map_class_ids, predict_files

    command_line.keep_compilations()
    images = find_images(arguments.images)
    predictor = Predictor.from_checkpoint(
        arguments.checkpoint, kind="best" if arguments.best else "last", flip=arguments.flip or None
    )
    class_ids = map_class_ids(predictor, own=arguments.class_ids == "own") if arguments.instance_maps else None
    failures = predict_files(
        predictor, images, arguments.out, score_threshold=arguments.score_threshold, class_ids=class_ids
    )
    print(f"{len(images) - failures} of {len(images)} images predicted into {arguments.out}")
    return 1 if failures else 0
