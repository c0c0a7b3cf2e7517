"""Builds a TFDS dataset from KINS, or from any source written as KINS json.

python scripts/build_dataset.py kins --manual-dir DIR [--data-dir DIR] [--annotations 2019|2020] [--strict]

DIR holds the images and annotations as data/kins/README.md says. A dataset that is there already is reused.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax import command_line
from amodal_jax.atomic_file import replacing
from amodal_jax.cores import usable_cores
from amodal_jax.errors import DataError
from amodal_jax.text_file import read_text


def main() -> None:
    """Builds the dataset, or finds it there, and prints what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["kins"], help="kins reads everything that is written as KINS json")
    parser.add_argument("--manual-dir", type=Path, required=True, help="the folder of images and annotations")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("~/tensorflow_datasets"), help="where datasets are built (%(default)s)"
    )
    parser.add_argument("--annotations", choices=["2019", "2020"], help="the release to read where both are there")
    parser.add_argument("--strict", action="store_true", help="fail if anything is wrong in the annotations")
    parser.add_argument("--overwrite", action="store_true", help="build anew, replacing what is there")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes that read masks (here %(default)s)"
    )
    arguments = parser.parse_args()
    manual_dir, data_dir = arguments.manual_dir.expanduser(), arguments.data_dir.expanduser()

    # Imported here, so that worker processes and --help do without TensorFlow.
    with command_line.importing():
        import tensorflow_datasets as tfds
        from absl import logging

        from data.kins.kins_dataset_builder import REPORT_FILE, Builder

    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()

    def builder(folder: Path) -> Builder:
        return Builder(
            data_dir=folder,
            release=arguments.annotations,
            strict=arguments.strict,
            progress=True,
            workers=arguments.workers,
        )

    place = Path(builder(data_dir).data_path)
    if place.exists() and not arguments.overwrite:
        print(f"{place} is there already and is used as it is; --overwrite builds it anew")
        report = _read_report(place / REPORT_FILE)
        _check_same_source(report, manual_dir, arguments.annotations, place)
        _print_report(report)
        if arguments.strict and any(split["problems"] for split in report["splits"].values()):
            raise DataError(f"{place} was built from annotations with problems, and --strict was given")
        return

    # Built beside its place and moved there whole, so that a failure leaves what was there before.
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".build-") as workshop:
        print(f"building {place} from {manual_dir}")
        unfinished = builder(Path(workshop))
        # TFDS prints that the dataset lies where it is only being made.
        with contextlib.redirect_stdout(io.StringIO()), _full_disk_named(data_dir):
            unfinished.download_and_prepare(
                download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as new:
            os.replace(unfinished.data_path, new)
    print(f"built {place}")
    _print_report(_read_report(place / REPORT_FILE))


@contextlib.contextmanager
def _full_disk_named(data_dir: Path) -> Iterator[None]:
    """TensorFlow writes the records, whose errors are no OSErrors and are wrapped by TFDS besides."""
    import tensorflow as tf

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error.__cause__, tf.errors.OpError):
            raise
        raise DataError(
            f"the records cannot be written to {data_dir} ({error.__cause__.message.rpartition('; ')[2]}); make room "
            "there, or name another --data-dir"
        ) from error


def _read_report(path: Path) -> dict:
    try:
        report = json.loads(read_text(path))
        if report["splits"].keys() == report["annotation_files"].keys() and report["class_names"]:
            return report
    except (DataError, ValueError, LookupError, TypeError, AttributeError):
        pass
    raise DataError(f"{path.parent} is no whole dataset: {path.name} is missing or damaged; use --overwrite")


def _check_same_source(report: dict, manual_dir: Path, release: str | None, place: Path) -> None:
    """A dataset of other annotations in the same place must not be mistaken for the one that was asked for."""
    from data.kins.annotations import file_sha256, find_annotation_files

    for split, path in find_annotation_files(manual_dir, release).items():
        if file_sha256(path) != report["annotation_files"][split]["sha256"]:
            raise DataError(
                f"{place} was built from other annotations than {path}: choose another --data-dir, or --overwrite it"
            )


def _print_report(report: dict) -> None:
    from data.kins.problems import describe

    print(f"classes: {', '.join(report['class_names'])}")
    for split, counts in report["splits"].items():
        source = report["annotation_files"][split]
        print(
            f"{split}: {counts['images']} images, {counts['instances']} instances from {source['name']} "
            f"(form of {source['release']}), {counts['instances_left_out']} instances left out"
        )
        for problem in counts["problems"]:
            print(f"  {describe(problem)}")
        if not counts["problems"]:
            print("  nothing wrong in the annotations")


if __name__ == "__main__":
    command_line.run(main)
