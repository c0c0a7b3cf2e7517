"""Looks for everything that can be wrong in annotation files, and repairs what can be repaired.

PATH is a KINS json file of either release, or the folder that scripts/build_dataset.py takes, whose images are then
looked at too. The exit code is 1 where there are errors; with --fix, where errors are left in the copy.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amodal_jax.atomic_file import make_folder, write_atomically
from amodal_jax.cores import usable_cores
from amodal_jax.errors import ConfigError
from data.kins.check import Report, check_file, count_errors, differing_categories
from data.kins.findings import EXAMPLES, KINDS, Finding, describe, grouped
from data.kins.layout import ANNOTATION_FILES
from data.kins.sources import find_sources
from data.outputs import refuse_existing

_CHANGES_FILE = "changes.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="json files or folders")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images of a json file lie")
    parser.add_argument("--annotations", choices=["2019", "2020"], help="the release to read where a folder has both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found as json, with all ids")
    parser.add_argument(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a repaired copy of the one PATH, a json file or a folder of json files as PATH is, and the list of "
        "changes beside it",
    )
    parser.add_argument("--force", action="store_true", help="replace what FILE and OUT hold already")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (here %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Checks the paths one after the other."""
    paths: list[Path] = arguments.paths
    if arguments.fix is not None and len(paths) != 1:
        raise ConfigError(f"--fix repairs one PATH, and {len(paths)} are given")
    if arguments.images is not None and any(path.is_dir() for path in paths):
        raise ConfigError("--images is for json files: a folder says itself where its images lie")
    for place in (arguments.json, arguments.fix):
        if place is not None:
            refuse_existing(place, force=arguments.force)

    entries, errors, reports = [], 0, []
    for path in paths:
        sources = find_sources(path, arguments.images, arguments.annotations)
        reports = [
            check_file(source, repair=arguments.fix is not None, workers=arguments.workers, progress=True)
            for source in sources
        ]
        for report in reports:
            _print_report(report)
            entries.append(_entry(report))
        differing = differing_categories(reports)
        if differing:
            _print_findings(differing)
            entries.append({"path": str(path), "findings": [group.to_json() for group in grouped(differing)]})
        errors += sum(report.errors for report in reports) + len(differing)
    if arguments.json is not None:
        make_folder(arguments.json.absolute().parent)
        write_atomically(arguments.json, json.dumps({"errors": errors, "files": entries}, indent=2) + "\n")
        print(f"written to {arguments.json}")
    if arguments.fix is not None:
        errors = _write_repaired(reports, paths[0], arguments.fix)
    return 1 if errors else 0


def _print_report(report: Report) -> None:
    warnings = len(report.findings) - report.errors
    print(
        f"{report.source.path}: {_form(report.release)}, {report.images} images, "
        f"{report.annotations} annotations: {report.errors} errors, {warnings} warnings"
    )
    _print_findings(report.findings)


def _form(release: str | None) -> str:
    if release is None:
        return "no known form"
    return f"KINS {release}" if release in ANNOTATION_FILES else release


def _print_findings(findings: Any) -> None:
    for group in grouped(findings):
        kind = KINDS[group.kind]
        print(f"  {group.severity}: {len(group.findings)} x {group.kind}")
        print(f"    building: {kind.builder}; --fix: {kind.repair or 'left as it is'}")
        for finding in group.findings[:EXAMPLES]:
            print(f"    {describe(finding)}")
        if len(group.findings) > EXAMPLES:
            print("    ...")


def _entry(report: Report) -> dict[str, Any]:
    return {
        "path": str(report.source.path),
        "release": report.release,
        "images": report.images,
        "annotations": report.annotations,
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
        "findings": [group.to_json() for group in grouped(report.findings)],
    }


def _write_repaired(reports: list[Report], path: Path, out: Path) -> int:
    """Writes the repaired copies, the list of changes last, and gives the number of errors that are left."""
    if path.is_dir():
        make_folder(out)
        places = {report.source.name: out / report.source.path.name for report in reports}
        list_place = out / _CHANGES_FILE
    else:
        make_folder(out.absolute().parent)
        places = {report.source.name: out for report in reports}
        list_place = out.with_name(f"{out.stem}.{_CHANGES_FILE}")
    changes: dict[str, list[dict[str, Any]]] = {}
    left: list[Finding] = []
    for report in reports:
        if report.repair is None:
            raise ValueError("a report without the repair that was asked for")
        write_atomically(places[report.source.name], json.dumps(report.repair.content) + "\n")
        changes[places[report.source.name].name] = [asdict(change) for change in report.repair.changes]
        left += report.repair.left
    write_atomically(list_place, _line_for_each(changes))
    print(f"{sum(map(len, changes.values()))} changes, listed in {list_place}; the repaired copy is {out}")
    if left:
        print(f"left in it, {count_errors(left)} of them errors:")
        _print_findings(left)
    return count_errors(left)


def _line_for_each(changes: dict[str, list[dict[str, Any]]]) -> str:
    """Json with a change in each line, since masks spread over many are no help to a reader."""
    parts = []
    for name, entries in changes.items():
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
        parts.append(f" {json.dumps(name)}: [\n{lines}\n ]" if entries else f" {json.dumps(name)}: []")
    return "{\n" + ",\n".join(parts) + "\n}\n"
