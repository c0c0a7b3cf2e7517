"""What `orders` and `inmodal` share: one annotation file in, one out, and what was found on the way."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from amodal_jax.atomic_file import write_atomically
from data.commands import options
from data.kins.annotation_ids import describe_new_ids
from data.kins.annotations import read_annotation_file
from data.kins.derive import Derived, derive_file, describe_findings, write_derived
from data.kins.problems import ProblemCounts, describe
from data.outputs import check_output_files, output_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="annotation file, of 2019 or 2020")
    options.add_out_file(parser, "the annotation file to write, in the form of 2020")
    options.add_json(parser, "write what is found as json, with all ids")
    options.add_force(parser, "write over files that are there")
    options.add_workers(parser)


def run(arguments: argparse.Namespace, derive: Callable[..., Derived], nothing_found: str) -> None:
    """Derives a file and prints what was found."""
    outputs = [path for path in (arguments.out, arguments.json) if path]
    check_output_files(*outputs, force=arguments.force)
    file = read_annotation_file(arguments.path)
    derived = derive_file(file, derive, workers=arguments.workers)
    with output_files(*outputs) as (out, *found):
        write_derived(out, file, derived)
        for place in found:
            write_atomically(place, json.dumps([asdict(finding) for finding in derived.findings], indent=2) + "\n")

    print(f"{arguments.path}: {len(file.images)} images, {len(derived.annotations)} instances")
    print_findings(derived, nothing_found)
    print(f"written to {arguments.out}")


def print_findings(derived: Derived, nothing_found: str) -> None:
    """Prints what was wrong with annotations, their new ids, and what was wrong with their orders or left open."""
    counts = ProblemCounts()
    counts.add(derived.problems)
    for problem in counts.to_json():
        print(f"  {describe(problem)}")
    for line in describe_new_ids(derived.new_ids):
        print(f"  {line}")
    for line in describe_findings(derived.findings) or [nothing_found]:
        print(f"  {line}")
