"""What can be wrong with annotations without making their file useless: kinds, consequences and counts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from amodal_jax import segmentation
from amodal_jax.errors import DataError

FIRST_IDS = 5

UNKNOWN_IMAGE = "annotation of an image that is not listed"
UNKNOWN_CATEGORY = "annotation of a category that is not listed"
AMODAL_MISSING = "amodal mask missing"
AMODAL_EMPTY = "amodal mask with nothing to draw in its image"
INMODAL_MISSING = "inmodal mask missing"
INMODAL_UNREADABLE = "inmodal mask of which nothing can be read"
INMODAL_UNKNOWN = "inmodal mask missing or unreadable of an instance that is partly hidden by its area"
INMODAL_EMPTY = "inmodal mask without a pixel"
INMODAL_OUTSIDE = "inmodal mask outside the amodal mask"
BOX_UNREADABLE = "box missing or unreadable"
BOX_UNDER_PIXEL = "box under a pixel wide or high"
BOX_DISAGREES = "box that disagrees with its mask"
ORDER_MISSING = "occlusion order missing or unreadable"
CROWD_UNREADABLE = "iscrowd that is neither true nor false"
REPEATED_ID = "annotation id used twice"
IMAGE_SIZE = "image of another size than its record says"

_LEFT_OUT = "instance left out"
_POLYGON_LEFT_OUT = "polygon left out, the mask's others kept"
_BOX_OF_MASK = "the mask's own box taken"
_FLAW_CONSEQUENCES = {
    segmentation.POLYGON_TOO_SHORT: _POLYGON_LEFT_OUT,
    segmentation.POLYGON_UNREADABLE: _POLYGON_LEFT_OUT,
    segmentation.POLYGON_TOO_FAR: _POLYGON_LEFT_OUT,
    segmentation.RLE_UNREADABLE: "mask not read",
    segmentation.SIZE_DIFFERS: "mask not read",
    segmentation.BEYOND_IMAGE: "mask cut off at the image's border",
}

# Every kind of problem and what the builder does about it. Kinds of masks and boxes occur twice, for either mask.
CONSEQUENCES = {
    UNKNOWN_IMAGE: _LEFT_OUT,
    UNKNOWN_CATEGORY: _LEFT_OUT,
    AMODAL_MISSING: _LEFT_OUT,
    AMODAL_EMPTY: _LEFT_OUT,
    INMODAL_MISSING: "taken as not occluded: the amodal mask serves as both",
    INMODAL_UNREADABLE: "taken as not occluded: the amodal mask serves as both",
    INMODAL_UNKNOWN: "kept, as wholly hidden",
    INMODAL_EMPTY: "kept, as wholly hidden",
    INMODAL_OUTSIDE: "kept as it is",
    ORDER_MISSING: "-1 recorded",
    CROWD_UNREADABLE: "taken as no crowd, as where there is none",
    REPEATED_ID: "both kept",
    IMAGE_SIZE: "the image file's own size taken",
    **{f"{which} mask: {flaw}": text for which in ("amodal", "inmodal") for flaw, text in _FLAW_CONSEQUENCES.items()},
    **{
        f"{which} {kind}": _BOX_OF_MASK
        for which in ("amodal", "inmodal")
        for kind in (BOX_UNREADABLE, BOX_UNDER_PIXEL, BOX_DISAGREES)
    },
}

# (kind, the id of the annotation, or of the image where the kind is one of images)
Problem = tuple[str, int]


@dataclass
class ProblemCounts:
    """The problems of one split, counted by kind, with the first few ids of each."""

    counts: dict[str, int] = field(default_factory=dict)
    first_ids: dict[str, list[int]] = field(default_factory=dict)

    def add(self, problems: Iterable[Problem]) -> None:
        for kind, identifier in problems:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            ids = self.first_ids.setdefault(kind, [])
            if len(ids) < FIRST_IDS:
                ids.append(identifier)

    def left_out(self) -> int:
        """How many instances were left out."""
        return sum(count for kind, count in self.counts.items() if CONSEQUENCES[kind] == _LEFT_OUT)

    def to_json(self) -> list[dict]:
        return [
            {"kind": kind, "count": count, "consequence": CONSEQUENCES[kind], "first_ids": self.first_ids[kind]}
            for kind, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]


def describe(problem: dict) -> str:
    """One line of text for an entry of `ProblemCounts.to_json`."""
    whose = "image" if problem["kind"] == IMAGE_SIZE else "annotation"
    ids = ", ".join(str(identifier) for identifier in problem["first_ids"])
    more = ", ..." if problem["count"] > len(problem["first_ids"]) else ""
    return f"{problem['count']} x {problem['kind']}: {problem['consequence']} ({whose} {ids}{more})"


def nothing_left(path: Path, counts: ProblemCounts) -> DataError:
    """The error of an annotation file of which no instance can be used; says what is wrong with them."""
    reasons = "; ".join(map(describe, counts.to_json())) or "it has none that could be"
    return DataError(f"no instance of {path} is left: {reasons}")
