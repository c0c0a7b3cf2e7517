"""What `check` can find in annotation files: kinds, how bad each is, what the builder and a repair do about it.

It knows everything that `problems` does, which the builder meets in a file that it can read, and what stops the builder
or goes unnoticed by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from amodal_jax import segmentation
from data.kins import orders, orders_of_masks, problems

Severity = Literal["error", "warning"]
EXAMPLES = 3

LIST_MISSING = "list of images, annotations or categories missing or empty"
ENTRY_UNREADABLE = "entry that is no object"
NO_MASK_KEY = "no annotation has a mask under the keys of a release"
NUMBER_AS_TEXT = "whole number written as text"
NUMBER_AS_FRACTION = "whole number written with a decimal point"
IMAGE_UNUSABLE = "image without an id, a file name or a size that an image can have"
IMAGE_ID_TWICE = "image id used twice"
FILE_NAME_TWICE = "file of two images"
IMAGE_EMPTY = "image without annotations"
IMAGE_MISSING = "image file missing"
IMAGE_UNREADABLE = "image file damaged, of another format, or stored turned"
CATEGORY_UNUSABLE = "category without an id or a name, or with one that another has"
CATEGORY_GAP = "category ids with a gap"
CATEGORY_UNUSED = "category without an instance"
CATEGORY_FOREIGN = "category that KINS has not, among some that it has"
CATEGORIES_DIFFER = "categories that differ between the splits"
ANNOTATION_WITHOUT_ID = "annotation without an id"
ID_BELOW_ONE = "annotation id below 1, of which COCO's code takes 0 for none"
ANNOTATION_UNUSABLE = "annotation without an image id or a category id"
DUPLICATE = "annotation with the masks and the class of another of its image"
AREA_MISSING = "area missing or unreadable"
AREA_DISAGREES = "area that disagrees with its mask"
EMPTY_RUNS = "run-length code with runs of no pixel, which not every program can read"
TINY = "amodal mask a pixel wide or high"
INMODAL_APART = "inmodal mask wholly outside the amodal mask"
ORDER_CONTRADICTED = "order that the masks contradict: more of the overlap is visible in the farther"
SLIGHT = ", in a few pixels"
CLUSTER_APART = "cluster of parts that do not overlap"
ORDER_GAP = "cluster whose orders are not 1, 2, ... without a gap"
HIDDEN_UNEXPLAINED = "hidden part that no nearer instance covers"

_STOPS = "the build stops"
_NOTHING = "kept as it is"
_REMOVED = "removed"
_WHOLE = "written as a whole number"
_FROM_NEARER = "the amodal mask without what nearer instances cover"
_FROM_MASKS = "computed from the masks, where these leave no doubt"


@dataclass(frozen=True)
class Kind:
    """One kind of finding."""

    severity: Severity  # error: false, contradictory or unusable; warning: may be right, but should be looked at
    builder: str  # what scripts/build_dataset.py does
    repair: str | None = None  # what `--fix` does; None: left as it is


def _of_both(part: str, *flaws: str) -> list[str]:
    """The kinds of both masks of an instance, as `read_instance` names them."""
    return [" ".join(filter(None, (which, part, flaw))) for which in ("amodal", "inmodal") for flaw in flaws]


POLYGON_FLAWS = (segmentation.POLYGON_TOO_SHORT, segmentation.POLYGON_UNREADABLE, segmentation.POLYGON_TOO_FAR)

KINDS: dict[str, Kind] = {
    LIST_MISSING: Kind("error", _STOPS),
    ENTRY_UNREADABLE: Kind("error", _STOPS, _REMOVED),
    NO_MASK_KEY: Kind("error", _STOPS),
    NUMBER_AS_TEXT: Kind("error", "the build stops at an id or a size, an order is not read", _WHOLE),
    NUMBER_AS_FRACTION: Kind("warning", "read as the whole number", _WHOLE),
    IMAGE_UNUSABLE: Kind("error", _STOPS, "removed where it has no id, its size taken from the image file"),
    IMAGE_ID_TWICE: Kind("error", _STOPS, "removed where the two are the same"),
    FILE_NAME_TWICE: Kind("error", _STOPS),
    IMAGE_EMPTY: Kind("warning", _NOTHING),
    IMAGE_MISSING: Kind("error", _STOPS),
    IMAGE_UNREADABLE: Kind("error", _STOPS),
    problems.IMAGE_SIZE: Kind("error", problems.CONSEQUENCES[problems.IMAGE_SIZE], "the image file's own size written"),
    CATEGORY_UNUSABLE: Kind("error", _STOPS, "removed where it repeats another"),
    CATEGORY_GAP: Kind("warning", "labels are numbered without the gap"),
    CATEGORY_UNUSED: Kind("warning", "a class without instances; KINS' rider is left out"),
    CATEGORY_FOREIGN: Kind("warning", "a class of its own"),
    CATEGORIES_DIFFER: Kind("error", "the build stops, but for KINS' rider"),
    ANNOTATION_WITHOUT_ID: Kind("error", _STOPS, "a new id given"),
    ID_BELOW_ONE: Kind("warning", _NOTHING, "a new id given"),
    ANNOTATION_UNUSABLE: Kind("error", _STOPS, _REMOVED),
    problems.UNKNOWN_IMAGE: Kind("error", problems.CONSEQUENCES[problems.UNKNOWN_IMAGE], _REMOVED),
    problems.UNKNOWN_CATEGORY: Kind(
        "error", problems.CONSEQUENCES[problems.UNKNOWN_CATEGORY], "one of KINS' added to the list"
    ),
    problems.REPEATED_ID: Kind("error", problems.CONSEQUENCES[problems.REPEATED_ID], "a new id given to the later"),
    DUPLICATE: Kind("error", "both kept", "the later removed"),
    problems.AMODAL_MISSING: Kind("error", problems.CONSEQUENCES[problems.AMODAL_MISSING]),
    problems.AMODAL_EMPTY: Kind("error", problems.CONSEQUENCES[problems.AMODAL_EMPTY]),
    problems.INMODAL_MISSING: Kind(
        "warning",
        problems.CONSEQUENCES[problems.INMODAL_MISSING],
        _FROM_NEARER,
    ),
    problems.INMODAL_UNREADABLE: Kind(
        "error",
        problems.CONSEQUENCES[problems.INMODAL_UNREADABLE],
        _FROM_NEARER,
    ),
    problems.INMODAL_UNKNOWN: Kind(
        "error",
        problems.CONSEQUENCES[problems.INMODAL_UNKNOWN],
        _FROM_NEARER,
    ),
    problems.INMODAL_EMPTY: Kind("warning", problems.CONSEQUENCES[problems.INMODAL_EMPTY]),
    problems.INMODAL_OUTSIDE: Kind(
        "error", "its part outside counts as nothing", "cut off at the amodal mask, where something is left"
    ),
    INMODAL_APART: Kind("error", "kept, as wholly hidden"),
    EMPTY_RUNS: Kind("warning", "read without them", "written without them"),
    TINY: Kind("warning", _NOTHING),
    AREA_MISSING: Kind("warning", "not read", "the mask's number of pixels written"),
    AREA_DISAGREES: Kind("error", "not read", "the mask's number of pixels written"),
    problems.ORDER_MISSING: Kind("error", problems.CONSEQUENCES[problems.ORDER_MISSING], _FROM_MASKS),
    problems.CROWD_UNREADABLE: Kind(
        "error", problems.CONSEQUENCES[problems.CROWD_UNREADABLE], "written as 0 or 1, where text says which"
    ),
    orders.EQUAL_ORDERS: Kind("error", _NOTHING, _FROM_MASKS),
    orders.OTHER_CLUSTERS: Kind("error", _NOTHING, _FROM_MASKS),
    orders.ZERO_OVERLAPS: Kind("error", _NOTHING, _FROM_MASKS),
    ORDER_CONTRADICTED: Kind("error", _NOTHING, _FROM_MASKS),
    orders.EQUAL_ORDERS + SLIGHT: Kind("warning", _NOTHING),
    orders.OTHER_CLUSTERS + SLIGHT: Kind("warning", _NOTHING),
    orders.ZERO_OVERLAPS + SLIGHT: Kind("warning", _NOTHING),
    orders.ORDER_ALONE: Kind("warning", _NOTHING, "order 0 written"),
    CLUSTER_APART: Kind("warning", _NOTHING),
    ORDER_GAP: Kind("warning", _NOTHING),
    orders_of_masks.CYCLE: Kind("error", _NOTHING),
    orders_of_masks.VISIBLE_IN_BOTH: Kind("warning", _NOTHING),
    HIDDEN_UNEXPLAINED: Kind("warning", _NOTHING),
    **{
        kind: Kind("error", problems.CONSEQUENCES[kind], "the polygon removed, where the mask has others")
        for kind in _of_both("mask:", *POLYGON_FLAWS)
    },
    **{
        kind: Kind("error", problems.CONSEQUENCES[kind])
        for kind in _of_both("mask:", segmentation.RLE_UNREADABLE, segmentation.SIZE_DIFFERS)
    },
    **{
        kind: Kind("warning", problems.CONSEQUENCES[kind], "polygons cut off at the image's border")
        for kind in _of_both("mask:", segmentation.BEYOND_IMAGE)
    },
    **{
        kind: Kind("error", problems.CONSEQUENCES[kind], "the mask's own box written")
        for kind in _of_both("", problems.BOX_UNREADABLE, problems.BOX_UNDER_PIXEL, problems.BOX_DISAGREES)
    },
}


@dataclass(frozen=True)
class Finding:
    """Something found."""

    kind: str
    subject: Literal["annotation", "image", "category", "file"]  # what the ids are of
    ids: tuple[Any, ...]  # as they stand in the file
    image_id: Any = None  # where the subject is an annotation
    detail: str = ""

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class Change:
    """What a repair did to one field of one entry.

    `before` is None where the field, or entry, was not there, `after` where it is gone.
    """

    subject: Literal["annotation", "image", "category"]
    id: Any
    field: str | None  # None: the whole entry
    before: Any
    after: Any
    why: str  # the kind of finding


@dataclass(frozen=True)
class Group:
    """All findings of one kind in one file."""

    kind: str
    findings: tuple[Finding, ...]

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        """The kind, what it means, the first examples in words, and all ids."""
        kind = KINDS[self.kind]
        return {
            "kind": self.kind,
            "severity": kind.severity,
            "count": len(self.findings),
            "builder": kind.builder,
            "repair": kind.repair,
            "examples": [describe(finding) for finding in self.findings[:EXAMPLES]],
            "subject": self.findings[0].subject,
            "ids": [list(finding.ids) for finding in self.findings],
        }


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """The findings by kind: errors first, the most frequent first."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    groups = [Group(kind, tuple(members)) for kind, members in by_kind.items()]
    return sorted(groups, key=lambda group: (group.severity, -len(group.findings), group.kind))


def describe(finding: Finding) -> str:
    """What a finding is of, in a few words."""
    plural = {"annotation": "annotations", "image": "images", "category": "categories", "file": "file"}
    what = plural[finding.subject] if len(finding.ids) > 1 else finding.subject
    words = [what, " and ".join(_shortened(identifier) for identifier in finding.ids)]
    if finding.image_id is not None:
        words.append(f"of image {_shortened(finding.image_id)}")
    text = " ".join(word for word in words if word)
    return f"{text}: {finding.detail}" if finding.detail else text


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
