"""Computes every figure of section 3 of the KINS paper, with the paper's own beside it.

PATH is a KINS json file of either release, or the folder that scripts/build_dataset.py takes, of which each split and
both together get a column.
"""

import argparse
import json
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.files.atomic import make_folder, write_atomically
from data.commands import options
from data.kins.annotations import categories, read_annotation_file
from data.kins.sources import find_sources
from data.shared.outputs import check_output_files, check_output_folder, output_folder
from data.statistics.image_measures import ImageMeasures
from data.statistics.statistics import Statistics, measure, summarise
from data.statistics.statistics_charts import statistics_charts
from data.statistics.statistics_table import NOTES, statistics_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="a json file or a folder")
    options.add_release(parser)
    parser.add_argument(
        "--kitti-labels",
        type=Path,
        metavar="LABEL_2",
        help="KITTI's label files of the images (of a folder's training split; it has published no others)",
    )
    options.add_json(parser, "write the figures as json")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write the distributions as SVG charts")
    options.add_force(parser, "replace what FILE and FOLDER hold already")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures the annotations and prints the table."""
    labels: Path | None = arguments.kitti_labels
    if labels is not None and not labels.is_dir():
        raise DataError(f"{labels} is no folder of KITTI's label files")
    check_output_files(arguments.json, force=arguments.force)
    if arguments.plots is not None:
        check_output_folder(arguments.plots, force=arguments.force)

    sources = find_sources(arguments.path, release=arguments.annotations)
    files = {source.name: read_annotation_file(source.path) for source in sources}
    class_names = list(categories(files).values())
    measures: dict[str, list[ImageMeasures]] = {}
    for name, file in files.items():
        # Both folders of KITTI hold the same file names, and its labels are those of the training images.
        of_these = labels if name == "train" or len(files) == 1 else None
        measures[name] = measure(file, kitti_labels=of_these, workers=arguments.workers, progress=True)
    columns = {name: summarise(images, class_names) for name, images in measures.items()}
    if len(columns) > 1:
        columns["all"] = summarise([image for images in measures.values() for image in images], class_names)
    if labels is not None and all(statistics.kitti is None for statistics in columns.values()):
        raise DataError(f"{labels} holds no label file of these images: IMAGE.txt for each IMAGE.png is expected")

    # Before anything is printed: whoever reads that may stop reading.
    if arguments.json is not None:
        make_folder(arguments.json.absolute().parent)
        content = {name: statistics.to_json() for name, statistics in columns.items()}
        write_atomically(arguments.json, json.dumps(content, indent=2) + "\n")
    if arguments.plots is not None:
        last: Statistics = list(columns.values())[-1]
        with output_folder(arguments.plots, force=arguments.force) as folder:
            for name, chart in statistics_charts(last).items():
                write_atomically(folder / f"{name}.svg", chart)
    print(statistics_table(columns))
    print(NOTES)
    if arguments.json is not None:
        print(f"written to {arguments.json}")
    if arguments.plots is not None:
        print(f"charts written to {arguments.plots}")
