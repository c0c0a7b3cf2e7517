"""Writes KITTI's instance maps: a 16-bit PNG for each image, 256 * class id + instance index in every visible pixel.

Class ids are KITTI's label ids (person 24, rider 25, car and van 26, truck 27, misc as trailer 30, tram as train 31),
or the file's own. Example: python scripts/dataset.py to-kitti-instances KINS/update_train_2020.json --out instance
"""

import argparse
from pathlib import Path

from data.commands import options
from data.kins.annotations import read_annotation_file
from data.kins.instance_maps import MapMaker, class_ids, named_apart
from data.kins.problems import ProblemCounts, describe, nothing_left
from data.outputs import check_output_folder, output_folder
from data.worker_processes import map_with_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="annotation file")
    options.add_out_folder(parser)
    parser.add_argument("--class-ids", choices=("kitti", "own"), default="kitti", help="in the maps (%(default)s)")
    options.add_force(parser, "write into a folder that is there already")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Writes the maps and prints how many."""
    check_output_folder(arguments.out, force=arguments.force)
    file = read_annotation_file(arguments.path)
    identifiers = class_ids(file, own=arguments.class_ids == "own")
    images = named_apart(file)
    counts = ProblemCounts()
    counts.add(file.problems)
    with (
        output_folder(arguments.out, force=arguments.force) as folder,
        map_with_progress(
            MapMaker(folder, file.release, identifiers),
            images,
            description=file.path.name,
            workers=arguments.workers,
            progress=True,
        ) as results,
    ):
        for problems in results:
            counts.add(problems)
        if counts.left_out() == sum(len(image.annotations) for image in file.images):
            raise nothing_left(file.path, counts)
    print(f"{arguments.out}: {len(file.images)} maps")
    for problem in counts.to_json():
        print(f"  {describe(problem)}")
