"""Predicts images with every checkpoint that a run has kept: a strip of each, and curves of the predicted areas.

python scripts/figure5.py RUN IMAGE_OR_FOLDER ... --out DIR [--panels 6] [--score-threshold 0.5]

The paper's Figure 5 of any run that has kept several checkpoints (--train.checkpoint-every, --train.keep-checkpoints).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.errors import ConfigError


def main() -> None:
    """Reads the command line, writes the figure and says of what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="the --workdir of a training")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--panels", type=int, default=6, help="checkpoints in each strip (default: %(default)s)")
    parser.add_argument("--score-threshold", type=float, default=0.5, help="of the objects shown (%(default)s)")
    arguments = parser.parse_args()
    if arguments.panels < 1:
        raise ConfigError(f"--panels is {arguments.panels}; it has to be 1 or more")
    # Imported here, so that --help and a mistyped path do without JAX.
    with command_line.importing():
        from amodal_jax.iterations.figure import write_figure
        from amodal_jax.predict_files import find_images

    command_line.keep_compilations()
    images = find_images(arguments.images)
    steps = write_figure(
        arguments.run_dir, images, arguments.out, panels=arguments.panels, score_threshold=arguments.score_threshold
    )
    print(f"{len(images)} images at {len(steps)} checkpoints, steps {steps[0]} to {steps[-1]}: {arguments.out}")


if __name__ == "__main__":
    command_line.run(main)
