"""Looks for everything that can be wrong in annotation files, and repairs what can be repaired.

PATH is a KINS json file of either release, or the folder that scripts/build_dataset.py takes, whose images are then
looked at too. The exit code is 1 where there are errors; with --fix, where errors are left in the copy.
"""

import argparse
import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amodal_jax.errors import ConfigError
from amodal_jax.files.atomic import make_folder, write_atomically
from data.check.check import Report, check_file, count_errors, differing_categories
from data.check.findings import EXAMPLES, KINDS, Finding, describe, grouped
from data.commands import options
from data.kins.layout import ANNOTATION_FILES
from data.kins.sources import find_sources
from data.shared.outputs import check_output_files, check_output_folder, output_files, output_folder

_CHANGES_FILE = "changes.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="json files or folders")
    options.add_images(parser)
    options.add_release(parser)
    options.add_json(parser, "write what is found as json, with all ids")
    parser.add_argument(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a repaired copy of the one PATH, a json file or a folder of json files as PATH is, and the list of "
        "changes beside it",
    )
    options.add_force(parser, "replace what FILE and OUT hold already")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> int:
    """Checks the paths one after the other."""
    paths: list[Path] = arguments.paths
    if arguments.fix is not None and len(paths) != 1:
        raise ConfigError(f"--fix repairs one PATH, and {len(paths)} are given")
    options.check_images(arguments.images, paths)
    files = [arguments.json]
    if arguments.fix is not None and paths[0].is_dir():
        check_output_folder(arguments.fix, force=arguments.force)
    elif arguments.fix is not None:
        files += [arguments.fix, _list_beside(arguments.fix)]
    check_output_files(*files, force=arguments.force)

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
        errors = _write_repaired(reports, paths[0], arguments.fix, force=arguments.force)
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


def _list_beside(copy: Path) -> Path:
    """Where the list of changes of a repaired file lies."""
    return copy.with_name(f"{copy.stem}.{_CHANGES_FILE}")


def _write_repaired(reports: list[Report], path: Path, out: Path, *, force: bool) -> int:
    """Writes the repaired copies and the list of changes, all or none, and gives the number of errors that are left."""
    changes: dict[str, list[dict[str, Any]]] = {}
    contents: list[str] = []
    left: list[Finding] = []
    for report in reports:
        if report.repair is None:
            raise ValueError("a report without the repair that was asked for")
        contents.append(json.dumps(report.repair.content) + "\n")
        name = report.source.path.name if path.is_dir() else out.name
        changes[name] = [asdict(change) for change in report.repair.changes]
        left += report.repair.left
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            list_place = out / _CHANGES_FILE
            folder = stack.enter_context(output_folder(out, force=force))
            places = [*(folder / name for name in changes), folder / _CHANGES_FILE]
        else:
            list_place = _list_beside(out)
            places = stack.enter_context(output_files(out, list_place))
        for place, content in zip(places, [*contents, _line_for_each(changes)], strict=True):
            write_atomically(place, content)
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
