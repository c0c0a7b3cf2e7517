"""Joins several annotators' files of the same images by majority, and prints how far they agree (paper, Table 3).

An instance that more than half of the annotators have is kept, with the pixels that more than half of these have;
orders are computed anew. --again names the same annotators' files of a second time, as in the paper: the rows of the
table are then the second time's, the columns the first time's, and the first time's majority is written.
Example: python scripts/dataset.py vote anna.json ben.json cleo.json --out voted.json
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from amodal_jax.atomic_file import write_atomically
from amodal_jax.errors import ConfigError, DataError
from data.commands import options
from data.kins.annotations import AnnotationFile, read_annotation_file
from data.kins.derive import describe_findings
from data.kins.orders import OrderFinding
from data.kins.problems import ProblemCounts, describe
from data.kins.voting import MASKS, Agreement, FileForm, ImageVoter, Vote, joined_categories, same_images
from data.kins.writer import KinsAnnotation, write_annotations
from data.outputs import check_output_files, output_files
from data.worker_processes import map_with_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="annotation file of each annotator")
    parser.add_argument("--again", type=Path, nargs="+", default=[], metavar="FILE", help="the same, of a second time")
    options.add_out_file(parser, "the annotation file to write")
    options.add_json(parser, "write the tables and what became of each instance as json")
    parser.add_argument("--iou", type=float, default=0.5, help="least IoU of two that are the same (%(default)s)")
    parser.add_argument(
        "--review-below", type=float, default=0.75, metavar="IOU", help="count instances to draw again (%(default)s)"
    )
    options.add_force(parser, "write over files that are there")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Votes, writes the majority and prints the tables."""
    _check(arguments)
    outputs = [path for path in (arguments.out, arguments.json) if path]
    check_output_files(*outputs, force=arguments.force)
    files = [read_annotation_file(path) for path in (*arguments.files, *arguments.again)]
    class_names = joined_categories(files)
    records = same_images(files)
    annotations, votes, doubts, agreement, counts = _vote(arguments, files, records)
    if not annotations:
        wrong = "".join(f"; {describe(problem)}" for problem in counts.to_json())
        raise DataError(
            f"no instance is in more than half of the {len(arguments.files)} files: there is nothing to write{wrong}"
        )
    images = [image.to_json() for image in files[0].images]
    with output_files(*outputs) as (out, *found):
        write_annotations(out, images, annotations, class_names, info=files[0].info)
        for place in found:
            write_atomically(place, json.dumps(_report(arguments, agreement, votes, doubts), indent=2) + "\n")
    for problem in counts.to_json():
        print(describe(problem))
    _print(arguments, agreement, votes, doubts)


def _check(arguments: argparse.Namespace) -> None:
    if len(arguments.files) < 2:
        raise ConfigError("a vote takes the files of two or more annotators")
    if arguments.again and len(arguments.again) != len(arguments.files):
        raise ConfigError(
            f"--again names {len(arguments.again)} files, but there are {len(arguments.files)} annotators"
        )
    if not 0 < arguments.iou <= 1:
        raise ConfigError(f"--iou is {arguments.iou}; it has to lie above 0 and be at most 1")


def _vote(
    arguments: argparse.Namespace, files: list[AnnotationFile], records: list[tuple]
) -> tuple[list[KinsAnnotation], list[Vote], list[OrderFinding], Agreement, ProblemCounts]:
    """All images' results in one, with the voted annotations numbered through."""
    forms = tuple(FileForm(file.path, file.release, file.categories) for file in files)
    voter = ImageVoter(forms, len(arguments.files), arguments.iou)
    annotations: list[KinsAnnotation] = []
    votes: list[Vote] = []
    doubts: list[OrderFinding] = []
    agreements = []
    counts = ProblemCounts()
    for file in files:
        counts.add(file.problems)
    with map_with_progress(voter, records, description="vote", workers=arguments.workers, progress=True) as results:
        for result in results:
            before = len(annotations)
            annotations += [dataclasses.replace(one, id=before + one.id) for one in result.annotations]
            votes += [
                vote if vote.voted_id is None else dataclasses.replace(vote, voted_id=before + vote.voted_id)
                for vote in result.votes
            ]
            doubts += [
                dataclasses.replace(doubt, members=tuple(before + member for member in doubt.members))
                for doubt in result.doubts
            ]
            agreements.append(result.agreement)
            counts.add(result.problems)
    return annotations, votes, doubts, sum(agreements[1:], start=agreements[0]), counts


def _names(paths: list[Path], time: str) -> list[str]:
    """Short names of annotators: those of their files, or of their folders where the files are called the same."""
    short = [path.stem for path in paths]
    if len(set(short)) < len(short):
        short = [path.parent.name or path.stem for path in paths]
    if len(set(short)) < len(short):
        short = [f"annotator {number}" for number in range(1, len(paths) + 1)]
    return [f"{name}{time}" for name in (*short, "majority")]


def _tables(arguments: argparse.Namespace, agreement: Agreement) -> dict[str, np.ndarray]:
    tables = dict(zip((f"{kind} IoU" for kind in MASKS), agreement.mean_iou(), strict=True))
    tables["shared"] = agreement.shared()
    if not arguments.again:
        for table in tables.values():
            np.fill_diagonal(table, np.nan)  # a file compared with itself says nothing
    return tables


def _headings(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    if arguments.again:
        return _names(arguments.again, " (2)"), _names(arguments.files, " (1)")
    names = _names(arguments.files, "")
    return names, names


def _report(arguments: argparse.Namespace, agreement: Agreement, votes: list[Vote], doubts: list[OrderFinding]) -> dict:
    rows, columns = _headings(arguments)
    return {
        "files": [str(path) for path in arguments.files],
        "again": [str(path) for path in arguments.again],
        "rows": rows,
        "columns": columns,
        "tables": {
            name: [[None if np.isnan(value) else value for value in row] for row in table.tolist()]
            for name, table in _tables(arguments, agreement).items()
        },
        "instances": [dataclasses.asdict(vote) for vote in votes],
        "doubts": [dataclasses.asdict(doubt) for doubt in doubts],
    }


def _print(arguments: argparse.Namespace, agreement: Agreement, votes: list[Vote], doubts: list[OrderFinding]) -> None:
    rows, columns = _headings(arguments)
    headings = {
        "amodal IoU": "mean IoU of matched instances, amodal masks",
        "inmodal IoU": "mean IoU of matched instances, inmodal masks",
        "shared": "share of the objects of either that both have",
    }
    widths = [max(8, len(name)) for name in columns]
    first = max(len(name) for name in rows)
    for name, table in _tables(arguments, agreement).items():
        print(headings[name])
        print(" " * first, *(column.rjust(width) for column, width in zip(columns, widths, strict=True)), sep="  ")
        for row, values in zip(rows, table.tolist(), strict=True):
            cells = ("-" if np.isnan(value) else f"{value:.3f}" for value in values)
            print(row.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)), sep="  ")
        print()
    kept = [vote for vote in votes if vote.left_out is None]
    print(f"{len(kept)} instances voted in, of {len(votes)} that anyone has")
    reasons = [vote.left_out for vote in votes if vote.left_out]
    for reason in dict.fromkeys(reasons):
        print(f"  {reasons.count(reason)} left out: {reason}")
    review = [vote for vote in kept if vote.amodal_iou is not None and vote.amodal_iou < arguments.review_below]
    if review:
        first_ids = ", ".join(str(vote.voted_id) for vote in sorted(review, key=lambda vote: vote.amodal_iou or 0)[:5])
        print(
            f"  {len(review)} on which the annotators agree by less than an IoU of {arguments.review_below}: draw them "
            f"again (voted ids, the worst first: {first_ids})"
        )
    for line in describe_findings(doubts):
        print(f"  {line}")
    print(f"written to {arguments.out}")
