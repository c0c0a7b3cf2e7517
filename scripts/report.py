"""Writes one html page about a run: its metrics, its loss curves, and predictions beside the ground truth."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax import command_line
from amodal_jax.errors import ConfigError


def main() -> None:
    """Writes the page and prints where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --workdir of a training")
    parser.add_argument("--out", type=Path, help="the page; default: report.html in the run directory")
    parser.add_argument("--images", type=int, default=24, help="images in the gallery (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.images < 0:
        raise ConfigError(f"--images is {arguments.images}; it has to be 0 or more")
    with command_line.importing():
        from amodal_jax.report import write_report

    print(write_report(arguments.run_dir, arguments.out, images=arguments.images))


if __name__ == "__main__":
    command_line.run(main)
