"""Writes an annotation file as plain COCO json with amodal or inmodal masks, for other frameworks.

Example: python scripts/dataset.py to-coco KINS/update_train_2020.json --masks amodal --out kins_amodal_train.json
"""

import argparse
import json
from pathlib import Path

from amodal_jax.atomic_file import make_folder, write_atomically
from data.commands import options
from data.kins.annotation_ids import describe_new_ids, with_sound_ids
from data.kins.annotations import read_annotation_file
from data.kins.coco_file import MASKS, CocoAnnotations, coco_content
from data.kins.problems import ProblemCounts, describe, nothing_left
from data.outputs import check_output_files
from data.worker_processes import map_with_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="annotation file")
    parser.add_argument("--masks", choices=MASKS, required=True, help="which masks become `segmentation`")
    options.add_out_file(parser, "the COCO file to write")
    options.add_force(parser, "write over a file that is there")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and prints what it holds."""
    check_output_files(arguments.out, force=arguments.force)
    file, new_ids = with_sound_ids(read_annotation_file(arguments.path))
    counts = ProblemCounts()
    counts.add(file.problems)
    annotations: list[dict] = []
    annotate = CocoAnnotations(file.release, arguments.masks)
    with map_with_progress(
        annotate, file.images, description=file.path.name, workers=arguments.workers, progress=True
    ) as results:
        for found, problems in results:
            annotations += found
            counts.add(problems)
    if not annotations:
        raise nothing_left(file.path, counts)
    make_folder(arguments.out.absolute().parent)
    write_atomically(arguments.out, json.dumps(coco_content(file, annotations)))
    print(
        f"{arguments.out}: {len(file.images)} images, {len(annotations)} instances with their {arguments.masks} masks, "
        f"{len(file.categories)} categories"
    )
    for line in [*map(describe, counts.to_json()), *describe_new_ids(new_ids)]:
        print(f"  {line}")
