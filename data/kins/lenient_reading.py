"""Reads an annotation file whose entries may be damaged, to say all that is wrong with them.

Unlike `annotations.read_annotation_file` it stops at nothing but a file that is no json object. What keeps an entry
from being looked at is mended on the way, or the entry is passed over; both are findings, and the former also changes,
which `--fix` writes. Masks and images are not looked at.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.json_values import whole_number
from data.image_files import checked_path
from data.json_file import name
from data.kins import findings as kinds
from data.kins import problems
from data.kins.annotation_ids import sound_ids
from data.kins.annotations import KEYS
from data.kins.categories import CATEGORY_IDS, RIDER_ID, RIDER_NAME, SUPERCATEGORIES
from data.kins.findings import Change, Finding

# As tables of text have them.
_WHOLE_TEXT = re.compile(r"\s*(-?\d{1,19})(?:\.0*)?\s*")
_TRUTH_TEXT = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}

# An annotation, after its id or, where it has none, its place in words.
_Shown = tuple[Any, dict[str, Any]]


@dataclass(frozen=True)
class LenientImage:
    """An image that can be told from the others, with the annotations that name it."""

    id: int
    entry: dict[str, Any]  # whose size and file name may be unusable
    annotations: tuple[dict[str, Any], ...]  # with whole numbers under `id`, `image_id` and `category_id`

    @property
    def file_name(self) -> str | None:
        """As `amodal_jax.image_paths.image_path` gives it; None where there is none that a file can have."""
        stored = self.entry.get("file_name")
        try:
            return checked_path(stored, "") if isinstance(stored, str) else None
        except DataError:
            return None


@dataclass
class LenientFile:
    """What is left of a file when its entries are mended, and what was found on the way."""

    content: dict[str, Any]  # the file's other keys, as they stand there
    release: str | None  # None where no annotation has a mask
    images: list[LenientImage] = field(default_factory=list)
    unplaced_images: list[dict[str, Any]] = field(default_factory=list)  # with an id that another one has
    positions: dict[int, int] = field(default_factory=dict)  # of the annotations in the file, by their ids
    categories: list[dict[str, Any]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)  # of the usable categories, by their ids
    findings: list[Finding] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def read_leniently(content: dict[str, Any]) -> LenientFile:
    """Reads the content of an annotation file, which is not changed."""
    file = LenientFile(
        content={key: value for key, value in content.items() if key not in ("images", "annotations", "categories")},
        release=None,
    )
    images, annotations, categories = (
        _entries(content, key, subject, file)
        for key, subject in (("images", "image"), ("annotations", "annotation"), ("categories", "category"))
    )
    file.release = _release(annotations)
    if annotations and file.release is None:
        file.findings.append(Finding(kinds.NO_MASK_KEY, "file", ()))
    known = _images(images, file)
    used = _annotations(annotations, known, file)
    _categories(categories, used, file)
    return file


def assembled(file: LenientFile, images: list[LenientImage]) -> dict[str, Any]:
    """The content of an annotation file again, with these images in place of the file's own."""
    annotations = [entry for image in images for entry in image.annotations]
    return {
        **file.content,
        "images": [image.entry for image in images] + file.unplaced_images,
        "annotations": sorted(annotations, key=lambda entry: file.positions[entry["id"]]),
        "categories": file.categories,
    }


def _entries(content: dict[str, Any], key: str, subject: Any, file: LenientFile) -> list[dict[str, Any]]:
    listed = content.get(key)
    if not isinstance(listed, list) or not listed:
        file.findings.append(Finding(kinds.LIST_MISSING, "file", (), detail=f"'{key}'"))
        return []
    entries = []
    for index, entry in enumerate(listed):
        if isinstance(entry, dict):
            entries.append(dict(entry))
        else:
            where = f"number {index}"
            file.findings.append(Finding(kinds.ENTRY_UNREADABLE, subject, (where,)))
            file.changes.append(Change(subject, where, None, entry, None, kinds.ENTRY_UNREADABLE))
    return entries


def _release(annotations: list[dict[str, Any]]) -> str | None:
    """The release most of whose keys of masks are there."""
    present = Counter(key for annotation in annotations for key in annotation)
    counts = {
        release: present[keys.amodal_mask] + present[keys.inmodal_mask] for release, keys in reversed(KEYS.items())
    }
    best = max(counts, key=lambda release: counts[release])
    return best if counts[best] else None


def _number(entry: dict[str, Any], key: str, subject: Any, file: LenientFile) -> int | None:
    """A whole number, which is mended where it is written as something else; None where there is none."""
    value = entry.get(key)
    number, kind = whole_number(value), kinds.NUMBER_AS_FRACTION
    if isinstance(value, str) and (written := _WHOLE_TEXT.fullmatch(value)):
        number, kind = whole_number(int(written[1])), kinds.NUMBER_AS_TEXT
    if number is None or isinstance(value, int):
        return number
    identifier = number if key == "id" else entry.get("id")
    file.findings.append(Finding(kind, subject, (identifier,), detail=f"{value!r} under '{key}'"))
    file.changes.append(Change(subject, identifier, key, value, number, kind))
    entry[key] = number
    return number


def _crowd(entry: dict[str, Any], file: LenientFile) -> None:
    """Mends an `iscrowd` that is text; any other that says nothing is found where the instance is read."""
    value = entry.get("iscrowd")
    if isinstance(value, str) and (crowd := _TRUTH_TEXT.get(value.strip().lower())) is not None:
        kind, identifier = problems.CROWD_UNREADABLE, entry.get("id")
        file.findings.append(Finding(kind, "annotation", (identifier,), detail=f"{value!r} under 'iscrowd'"))
        file.changes.append(Change("annotation", identifier, "iscrowd", value, crowd, kind))
        entry["iscrowd"] = crowd


def _images(entries: list[dict[str, Any]], file: LenientFile) -> dict[int, list[dict[str, Any]]]:
    """Fills the file's images, and gives the list of annotations of each, still empty, by its id."""
    placed: dict[int, dict[str, Any]] = {}
    names: dict[str, int] = {}
    for index, entry in enumerate(entries):
        identifier = _number(entry, "id", "image", file)
        if identifier is None:
            where = f"number {index}"
            detail = f"{entry.get('id')!r} under 'id'" if "id" in entry else "no 'id'"
            file.findings.append(Finding(kinds.IMAGE_UNUSABLE, "image", (where,), detail=detail))
            file.changes.append(Change("image", where, None, entry, None, kinds.IMAGE_UNUSABLE))
            continue
        for key in ("width", "height"):
            _number(entry, key, "image", file)
        if identifier in placed:
            same = entry == placed[identifier]
            detail = "the same entry" if same else "with another size or name"
            file.findings.append(Finding(kinds.IMAGE_ID_TWICE, "image", (identifier,), detail=detail))
            if same:
                file.changes.append(Change("image", identifier, None, entry, None, kinds.IMAGE_ID_TWICE))
            else:
                file.unplaced_images.append(entry)
            continue
        placed[identifier] = entry
        name = LenientImage(identifier, entry, ()).file_name
        if name is None:
            file.findings.append(Finding(kinds.IMAGE_UNUSABLE, "image", (identifier,), detail="no 'file_name'"))
        elif name in names:
            file.findings.append(Finding(kinds.FILE_NAME_TWICE, "image", (names[name], identifier), detail=name))
        else:
            names[name] = identifier
    file.images = [LenientImage(identifier, entry, ()) for identifier, entry in placed.items()]
    return {identifier: [] for identifier in placed}


def _annotations(
    entries: list[dict[str, Any]], by_image: dict[int, list[dict[str, Any]]], file: LenientFile
) -> Counter[int]:
    """Gives the file's images their annotations, and counts these by category."""
    used: Counter[int] = Counter()
    placed = []
    for index, entry in enumerate(entries):
        identifier, image_id, category_id = (
            _number(entry, key, "annotation", file) for key in ("id", "image_id", "category_id")
        )
        keys = KEYS[file.release] if file.release else None
        for key in filter(None, (keys.cluster, keys.order) if keys else ()):
            _number(entry, key, "annotation", file)
        _crowd(entry, file)
        shown = f"number {index}" if identifier is None else identifier
        if image_id is None or category_id is None:
            missing = "image_id" if image_id is None else "category_id"
            file.findings.append(Finding(kinds.ANNOTATION_UNUSABLE, "annotation", (shown,), detail=f"no '{missing}'"))
            file.changes.append(Change("annotation", shown, None, entry, None, kinds.ANNOTATION_UNUSABLE))
        elif image_id not in by_image:
            file.findings.append(Finding(problems.UNKNOWN_IMAGE, "annotation", (shown,), image_id))
            file.changes.append(Change("annotation", shown, None, entry, None, problems.UNKNOWN_IMAGE))
        else:
            placed.append((shown, entry))
            used[category_id] += 1
    placed = _without_duplicates(placed, file)
    _give_ids(placed, file)
    for position, (_, entry) in enumerate(placed):
        by_image[entry["image_id"]].append(entry)
        file.positions[entry["id"]] = position
    file.images = [LenientImage(image.id, image.entry, tuple(by_image[image.id])) for image in file.images]
    file.findings += [
        Finding(kinds.IMAGE_EMPTY, "image", (image.id,)) for image in file.images if not image.annotations
    ]
    return used


def _without_duplicates(
    placed: list[tuple[Any, dict[str, Any]]], file: LenientFile
) -> list[tuple[Any, dict[str, Any]]]:
    if file.release is None:
        return placed
    keys = KEYS[file.release]
    first: dict[tuple, Any] = {}
    kept = []
    for shown, entry in placed:
        amodal, inmodal = entry.get(keys.amodal_mask), entry.get(keys.inmodal_mask)
        # Text, since lists have no hash.
        key = (entry["image_id"], entry["category_id"], json.dumps([amodal, inmodal]))
        if amodal and key in first:
            file.findings.append(Finding(kinds.DUPLICATE, "annotation", (first[key], shown), entry["image_id"]))
            file.changes.append(Change("annotation", shown, None, entry, None, kinds.DUPLICATE))
            continue
        first[key] = shown
        kept.append((shown, entry))
    return kept


def _give_ids(placed: list[_Shown], file: LenientFile) -> None:
    ids = [shown if isinstance(shown, int) else None for shown, _ in placed]
    for (shown, entry), before, after in zip(placed, ids, sound_ids(ids), strict=True):
        if before == after:
            continue
        kind = problems.REPEATED_ID
        if before is None:
            kind = kinds.ANNOTATION_WITHOUT_ID
        elif before < 1:
            kind = kinds.ID_BELOW_ONE
        detail = f"called {after} in other findings"
        file.findings.append(Finding(kind, "annotation", (shown,), entry["image_id"], detail))
        file.changes.append(Change("annotation", shown, "id", entry.get("id"), after, kind))
        entry["id"] = after


def _categories(entries: list[dict[str, Any]], used: Counter[int], file: LenientFile) -> None:
    names = file.names
    for index, entry in enumerate(entries):
        identifier = _number(entry, "id", "category", file)
        class_name = name(entry, "name")
        shown = f"number {index}" if identifier is None else identifier
        if identifier is not None and class_name and identifier not in names and class_name not in names.values():
            names[identifier] = class_name
            file.categories.append(entry)
            continue
        file.findings.append(Finding(kinds.CATEGORY_UNUSABLE, "category", (shown,), detail=f"named {class_name!r}"))
        if identifier is not None and names.get(identifier) == class_name:
            file.changes.append(Change("category", shown, None, entry, None, kinds.CATEGORY_UNUSABLE))
        else:
            file.categories.append(entry)
    of_kins = set(names.values()) <= {*KINS_CLASS_NAMES, RIDER_NAME}
    kins_names = {identifier: kins_name for kins_name, identifier in CATEGORY_IDS.items()}
    unlisted = {identifier for identifier in used if identifier not in names}
    file.findings += [
        Finding(problems.UNKNOWN_CATEGORY, "annotation", (entry["id"],), image.id, f"category {entry['category_id']}")
        for image in file.images
        for entry in image.annotations
        if entry["category_id"] in unlisted
    ]
    for identifier in sorted(unlisted):
        unused = kins_names.get(identifier)
        if names and of_kins and unused is not None and unused not in names.values():
            added = {"id": identifier, "name": unused, "supercategory": SUPERCATEGORIES[unused]}
            file.categories.append(added)
            file.changes.append(Change("category", identifier, None, None, added, problems.UNKNOWN_CATEGORY))
            names[identifier] = unused
    file.findings += [
        Finding(kinds.CATEGORY_UNUSED, "category", (identifier,), detail=listed)
        for identifier, listed in sorted(names.items())
        if not used[identifier]
    ]
    if set(names.values()) & set(KINS_CLASS_NAMES):
        file.findings += [
            Finding(kinds.CATEGORY_FOREIGN, "category", (identifier,), detail=repr(listed))
            for identifier, listed in sorted(names.items())
            if listed not in (*KINS_CLASS_NAMES, RIDER_NAME)
        ]
    if names:
        gaps = [number for number in _between(min(names), max(names)) if number not in names]
        if gaps:
            rider = f", KINS' {RIDER_NAME} among them" if RIDER_ID in gaps and of_kins else ""
            shown = ", ".join(map(str, gaps[:5]))
            file.findings.append(
                Finding(kinds.CATEGORY_GAP, "file", (), detail=f"{len(names)} categories, without {shown}{rider}")
            )


def _between(low: int, high: int) -> range:
    """The numbers between two ids; the first thousand, where one of them is wild."""
    return range(low, min(high, low + 1000))
