"""Checks annotation files, and mends them: everything that is wrong, wherever a damaged file can still be read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amodal_jax.errors import DataError, ImageError
from amodal_jax.json_values import whole_number
from data.image_files import checked_size, is_size
from data.image_lookup import look_up
from data.json_file import read_json_object
from data.kins import findings as kinds
from data.kins import problems
from data.kins.annotations import KEYS
from data.kins.categories import RIDER_ID, RIDER_NAME
from data.kins.findings import KINDS, Change, Finding
from data.kins.image_check import check_annotations, look_at
from data.kins.image_repair import repair_annotations
from data.kins.lenient_reading import LenientImage, assembled, read_leniently
from data.kins.sources import Source
from data.worker_processes import map_with_progress


@dataclass(frozen=True)
class Repair:
    """A mended file."""

    content: dict[str, Any]
    changes: tuple[Change, ...]
    left: tuple[Finding, ...]  # what a check of the content finds


@dataclass(frozen=True)
class Report:
    """What was found in one annotation file."""

    source: Source
    release: str | None
    images: int
    annotations: int
    categories: dict[int, str]
    findings: tuple[Finding, ...]
    repair: Repair | None  # where one was asked for

    @property
    def errors(self) -> int:
        return count_errors(self.findings)


def count_errors(findings: Sequence[Finding]) -> int:
    """How many of them are errors."""
    return sum(KINDS[finding.kind].severity == "error" for finding in findings)


def check_file(source: Source, *, repair: bool = False, workers: int = 1, progress: bool = False) -> Report:
    """Checks an annotation file, with its images where their folder is known.

    Args:
        source: the file.
        repair: mend it too, in memory.
        workers: processes, where there are images enough to be worth them.
        progress: draw a progress bar on stderr.

    Raises:
        DataError: the file is missing, or no json object.
    """
    try:
        return _check(source, read_json_object(source.path), repair, workers, progress)
    except RecursionError:
        raise DataError(f"{source.path} is nested more deeply than any annotation file; write it again") from None


def differing_categories(reports: Sequence[Report]) -> list[Finding]:
    """A finding where splits of one dataset list other categories."""
    listed = [dict(report.categories) for report in reports]
    for names in listed:
        # The files of 2020 list it without an instance, and the builder leaves it out.
        if names.get(RIDER_ID) == RIDER_NAME:
            del names[RIDER_ID]
    return [
        Finding(kinds.CATEGORIES_DIFFER, "file", (report.source.name,), detail=f"unlike {reports[0].source.name}")
        for report, names in zip(reports, listed, strict=True)
        if names != listed[0]
    ]


@dataclass(frozen=True)
class _ImageResult:
    findings: list[Finding]
    image: LenientImage  # mended, where a repair was asked for
    changes: list[Change]
    left: list[Finding]


@dataclass(frozen=True)
class _ImageWork:
    """Checks one image, whose file is known or not, in whichever process."""

    release: str | None
    repair: bool

    def __call__(self, placed: tuple[LenientImage, Path | None]) -> _ImageResult:
        image, place = placed
        findings, size = self._check(image, place)
        if not self.repair:
            return _ImageResult(findings, image, [], findings)
        changes: list[Change] = []
        mended = image
        stored = (image.entry.get("height"), image.entry.get("width"))
        if size is not None and stored != size:
            why = next(finding.kind for finding in findings if finding.subject == "image")
            for key, value in zip(("height", "width"), size, strict=True):
                changes.append(Change("image", image.id, key, image.entry.get(key), value, why))
            mended = replace(mended, entry={**image.entry, "height": size[0], "width": size[1]})
        if size is not None and self.release is not None:
            annotations, edits = repair_annotations(image.annotations, KEYS[self.release], *size)
            mended = replace(mended, annotations=annotations)
            changes += edits
        left = self._check(mended, place)[0] if changes else findings
        return _ImageResult(findings, mended, changes, left)

    def _check(self, image: LenientImage, place: Path | None) -> tuple[list[Finding], tuple[int, int] | None]:
        """What is wrong with an image, and its (height, width), which is None where nothing says it."""
        findings: list[Finding] = []
        height, width = (whole_number(image.entry.get(key)) for key in ("height", "width"))
        usable = (height, width) if height is not None and width is not None and is_size(height, width) else None
        if usable is None:
            detail = f"{image.entry.get('width')!r} x {image.entry.get('height')!r} pixels"
            findings.append(Finding(kinds.IMAGE_UNUSABLE, "image", (image.id,), detail=detail))
        actual = None
        if place is not None:
            try:
                actual = checked_size(place)
            except ImageError as error:
                findings.append(Finding(kinds.IMAGE_UNREADABLE, "image", (image.id,), detail=str(error)))
        if actual is not None and usable is not None and actual != usable:
            detail = f"{image.file_name} has {actual[1]} x {actual[0]} pixels, the record {width} x {height}"
            findings.append(Finding(problems.IMAGE_SIZE, "image", (image.id,), detail=detail))
        size = actual or usable
        if size is not None and self.release is not None:
            keys = KEYS[self.release]
            findings += check_annotations(look_at(image.annotations, keys, *size), keys, image.id)
        return findings, size


def _places(images: Sequence[LenientImage], folder: Path | None) -> tuple[dict[int, Path], list[Finding]]:
    """The files of the images that have one in a folder, and what is to be said of the others."""
    if folder is None:
        return {}, []
    paths = {image.id: image.file_name for image in images if image.file_name is not None}
    found = look_up(paths, folder)
    findings = []
    place = {identifier: index for index, identifier in enumerate(paths)}
    told: set[tuple[int, ...]] = set()
    for identifier, path in paths.items():
        if identifier in found.shared:
            other, file = found.shared[identifier]
            pair = tuple(sorted((identifier, other), key=place.__getitem__))
            # Those of one path are found without looking for the file.
            if paths[other] != path and pair not in told:
                told.add(pair)
                detail = f"{folder / file} can be either's"
                findings.append(Finding(kinds.FILE_NAME_TWICE, "image", pair, detail=detail))
        elif identifier not in found.paths:
            findings.append(
                Finding(kinds.IMAGE_MISSING, "image", (identifier,), detail=f"{folder / path} is not there")
            )
    return {identifier: folder / path for identifier, path in found.paths.items()}, findings


def _check(source: Source, content: dict[str, Any], repair: bool, workers: int, progress: bool) -> Report:
    file = read_leniently(content)
    places, of_files = _places(file.images, source.image_folder)
    findings, left = [*file.findings, *of_files], list(of_files)
    changes = list(file.changes)
    images: list[LenientImage] = []
    work = _ImageWork(file.release, repair)
    placed = [(image, places.get(image.id)) for image in file.images]
    with map_with_progress(work, placed, description=source.path.name, workers=workers, progress=progress) as results:
        for result in results:
            findings += result.findings
            if repair:
                images.append(result.image)
                changes += result.changes
                left += result.left
    mended = None
    if repair:
        after = assembled(file, images)
        mended = Repair(after, tuple(changes), (*read_leniently(after).findings, *left))
    return Report(
        source=source,
        release=file.release,
        images=len(file.images),
        annotations=sum(len(image.annotations) for image in file.images),
        categories=file.names,
        findings=tuple(findings),
        repair=mended,
    )
