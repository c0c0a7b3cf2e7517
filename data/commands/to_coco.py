"""Writes an annotation file as plain COCO json with amodal or inmodal masks, for other frameworks.

Example: python scripts/dataset.py to-coco KINS/update_train_2020.json --masks amodal --out kins_amodal_train.json
"""

import argparse
import json
from pathlib import Path

from amodal_jax.atomic_file import make_folder, write_atomically
from data.kins.annotations import read_annotation_file
from data.kins.coco_file import MASKS, coco_content
from data.kins.problems import ProblemCounts, describe
from data.outputs import refuse_existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="annotation file")
    parser.add_argument("--masks", choices=MASKS, required=True, help="which masks become `segmentation`")
    parser.add_argument("--out", type=Path, required=True, help="COCO file to write")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and prints what it holds."""
    refuse_existing(arguments.out, force=arguments.force)
    content, problems = coco_content(read_annotation_file(arguments.path), arguments.masks)
    make_folder(arguments.out.parent)
    write_atomically(arguments.out, json.dumps(content))
    counts = ProblemCounts()
    counts.add(problems)
    print(
        f"{arguments.out}: {len(content['images'])} images, {len(content['annotations'])} instances with their "
        f"{arguments.masks} masks, {len(content['categories'])} categories"
    )
    for problem in counts.to_json():
        print(f"  {describe(problem)}")
