"""What `orders` and `inmodal` share: one annotation file in, one out, and what was found on the way."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from amodal_jax.atomic_file import make_folder, write_atomically
from amodal_jax.cores import usable_cores
from data.kins.annotations import read_annotation_file
from data.kins.derive import Derived, derive_file, describe_findings, write_derived
from data.kins.problems import ProblemCounts, describe
from data.outputs import refuse_existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("path", type=Path, metavar="PATH", help="annotation file, of 2019 or 2020")
    parser.add_argument("--out", type=Path, required=True, help="annotation file to write, in the form of 2020")
    parser.add_argument("--report", type=Path, help="json file to write with all that was found")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (here %(default)s)")
    parser.add_argument("--force", action="store_true", help="write over files that are there")


def run(arguments: argparse.Namespace, derive: Callable[..., Derived], nothing_found: str) -> None:
    """Derives a file and prints what was found."""
    outputs = [path for path in (arguments.out, arguments.report) if path]
    for path in outputs:
        refuse_existing(path, force=arguments.force)
    file = read_annotation_file(arguments.path)
    derived = derive_file(file, derive, workers=arguments.workers)
    for path in outputs:
        make_folder(path.parent)
    if arguments.report:
        write_atomically(arguments.report, json.dumps([asdict(finding) for finding in derived.findings], indent=1))
    write_derived(arguments.out, file, derived)

    print(f"{arguments.path}: {len(file.images)} images, {len(derived.annotations)} instances")
    print_findings(derived, nothing_found)
    print(f"written to {arguments.out}")


def print_findings(derived: Derived, nothing_found: str) -> None:
    """Prints what was wrong with annotations, and with their orders or what they left open."""
    counts = ProblemCounts()
    counts.add(derived.problems)
    for problem in counts.to_json():
        print(f"  {describe(problem)}")
    for line in describe_findings(derived.findings) or [nothing_found]:
        print(f"  {line}")
