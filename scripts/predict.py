"""Finds the objects in images: an overlay NAME.png and a NAME.json for each.

python scripts/predict.py --checkpoint DIR IMAGE_OR_FOLDER ... --out DIR [--score-threshold 0.5] [--best]

Images may be of any size and kind (grey, RGBA and 16-bit ones too). One that cannot be read is reported and skipped,
and the exit status is then 1.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line


def main() -> int:
    """Reads the command line and predicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--class-ids", choices=("kitti", "own"), default="kitti", help="in the maps (%(default)s)")
    arguments = parser.parse_args()
    # Imported here, so that --help and a mistyped path do without JAX.
    with command_line.importing():
        from amodal_jax.predict import Predictor
        from amodal_jax.predict_files import find_images, map_class_ids, predict_files

    command_line.keep_compilations()
    images = find_images(arguments.images)
    predictor = Predictor.from_checkpoint(arguments.checkpoint, kind="best" if arguments.best else "last")
    class_ids = map_class_ids(predictor, own=arguments.class_ids == "own") if arguments.instance_maps else None
    failures = predict_files(
        predictor, images, arguments.out, score_threshold=arguments.score_threshold, class_ids=class_ids
    )
    print(f"{len(images) - failures} of {len(images)} images predicted into {arguments.out}")
    return 1 if failures else 0


if __name__ == "__main__":
    command_line.run(main)
