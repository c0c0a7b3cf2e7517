"""Options that several commands have, under the same name and with the same meaning."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from amodal_jax.cli.cores import usable_cores
from amodal_jax.errors import ConfigError
from data.kins.layout import ANNOTATION_FILES


def add_out_file(parser: argparse.ArgumentParser, what: str) -> None:
    """The file that a command is there to write."""
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=what)


def add_out_folder(parser: argparse.ArgumentParser) -> None:
    """The folder that a command is there to write."""
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to write")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """What is printed, whole and for programs."""
    parser.add_argument("--json", type=Path, metavar="FILE", help=what)


def add_force(parser: argparse.ArgumentParser, what: str) -> None:
    """Without it nothing that is there already is touched."""
    parser.add_argument("--force", action="store_true", help=what)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """How many processes work, where there is enough for them to do."""
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), metavar="N", help="processes for many images (here %(default)s)"
    )


def add_release(parser: argparse.ArgumentParser) -> None:
    """Which annotation files of a folder."""
    parser.add_argument(
        "--annotations", choices=sorted(ANNOTATION_FILES), help="the release to read where a folder has both"
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """The images of a json file that lies alone."""
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images of a json file lie")


def check_images(images: Path | None, paths: Sequence[Path]) -> None:
    """Raises a ConfigError where `--images` is given for a folder, or is none."""
    if images is None:
        return
    if any(path.is_dir() for path in paths):
        raise ConfigError("--images is for json files: a folder says itself where its images lie")
    if not images.is_dir():
        raise ConfigError(f"--images {images} is no folder")
