"""Ids of annotations as every program takes them: unique in their file, and above 0.

COCO's own code finds annotations by their ids, and takes 0 for "matches nothing": of ground truth whose ids are
repeated, or begin with 0, it does not find all.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from amodal_jax.json_values import fits
from data.kins.annotations import AnnotationFile
from data.kins.problems import FIRST_IDS


@dataclass(frozen=True)
class NewId:
    """An annotation that got another id."""

    image_id: int
    before: int
    after: int


def sound_ids(ids: Sequence[int | None]) -> list[int]:
    """The ids themselves where they are above 0 and have not come before; for the others ids that are free."""
    new = _free({identifier for identifier in ids if identifier is not None}, len(ids))
    taken: set[int] = set()
    sound = []
    for identifier in ids:
        kept = identifier if identifier is not None and identifier > 0 and identifier not in taken else next(new)
        taken.add(kept)
        sound.append(kept)
    return sound


def with_sound_ids(file: AnnotationFile) -> tuple[AnnotationFile, list[NewId]]:
    """An annotation file as it can be written, and what was changed for that."""
    annotations = [annotation for image in file.images for annotation in image.annotations]
    sound = iter(sound_ids([annotation["id"] for annotation in annotations]))
    images = tuple(
        replace(image, annotations=tuple({**annotation, "id": next(sound)} for annotation in image.annotations))
        for image in file.images
    )
    written = (annotation for image in images for annotation in image.annotations)
    changed = [
        NewId(before["image_id"], before["id"], after["id"])
        for before, after in zip(annotations, written, strict=True)
        if before["id"] != after["id"]
    ]
    return replace(file, images=images), changed


def describe_new_ids(changed: Sequence[NewId]) -> list[str]:
    """A line that says which ids are new; none where none is."""
    if not changed:
        return []
    first = "; ".join(f"{new.before} of image {new.image_id} is {new.after}" for new in changed[:FIRST_IDS])
    more = "; ..." if len(changed) > FIRST_IDS else ""
    return [f"{len(changed)} x annotation id below 1, or used before: a new one given ({first}{more})"]


def _free(taken: set[int], wanted: int) -> Iterator[int]:
    """Ids above the highest, or, where there is no room for so many, those between the others."""
    above = max(taken, default=0) + 1
    if fits(above + wanted):
        return itertools.count(max(above, 1))
    return (number for number in itertools.count(1) if number not in taken)
