"""Several annotators' files of the same images: how far they agree, and their majority (paper section 3.3).

An instance is voted in where more than half of the annotators have it. Its masks hold the pixels that more than half of
these have: whether there is an object was decided already, and those who did not see it have no say in its outline.
Clusters and orders are computed from the voted masks.

R and C are the rows and columns of a table of consistency: annotators and, last, their majority.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_mask

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from amodal_jax.segmentation import Rle
from data.kins.annotations import KEYS, AnnotationFile, ImageRecord
from data.kins.instances import read_instance
from data.kins.matching import match_instances
from data.kins.orders import OrderFinding
from data.kins.orders_of_masks import orders_of_masks
from data.kins.problems import Problem
from data.kins.writer import KinsAnnotation

MASKS = ("amodal", "inmodal")
MINORITY = "found by a minority"
NO_CONSENSUS = "no pixel that a majority has"


@dataclass(frozen=True)
class Outline:
    """One annotator's, or the majority's, idea of an instance."""

    id: int
    class_name: str
    is_crowd: bool
    amodal: Rle
    inmodal: Rle


@dataclass(frozen=True)
class Vote:
    """What became of one group of matched outlines."""

    image_id: int
    file_name: str
    class_name: str
    members: tuple[int | None, ...]  # the id of each annotator's annotation; None where there is none
    amodal_iou: float | None  # mean over the pairs of members; None for a single one
    voted_id: int | None  # of the voted annotation; None where it was left out
    left_out: str | None  # why


@dataclass(frozen=True)
class Agreement:
    """Sums from which a table of consistency follows; those of several images add up."""

    iou_sums: Float[np.ndarray, "2 R C"]  # over matched pairs; amodal, inmodal
    pairs: Int[np.ndarray, "2 R C"]  # matched pairs that have such an IoU: an inmodal one needs a visible pixel
    either: Int[np.ndarray, "R C"]  # objects that one or both have

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(self.iou_sums + other.iou_sums, self.pairs + other.pairs, self.either + other.either)

    def mean_iou(self) -> Float[np.ndarray, "2 R C"]:
        """The mean IoU of the matched instances, NaN where none match."""
        with np.errstate(invalid="ignore"):
            return self.iou_sums / self.pairs

    def shared(self) -> Float[np.ndarray, "R C"]:
        """Of the objects that one or both have, the share that both have."""
        with np.errstate(invalid="ignore"):
            return self.pairs[0] / self.either


@dataclass(frozen=True)
class ImageResult:
    """The voted annotations of one image, numbered from 1, and all that was found on the way."""

    annotations: list[KinsAnnotation]
    votes: list[Vote]
    doubts: list[OrderFinding]  # members are numbers of voted annotations
    agreement: Agreement
    problems: list[Problem]


@dataclass(frozen=True)
class ImageVoter:
    """Votes on one image."""

    files: tuple["FileForm", ...]  # of the annotators; where they annotated twice, of both times, one after the other
    annotators: int
    threshold: float

    def __call__(self, records: Sequence[ImageRecord]) -> ImageResult:
        """Votes on the records that the files have of one image; the first time's are voted on.

        Raises:
            DataError: the records are of images of different sizes.
        """
        first = records[0]
        outlines: list[list[Outline]] = []
        problems: list[Problem] = []
        for form, record in zip(self.files, records, strict=True):
            if (record.height, record.width) != (first.height, first.width):
                raise DataError(
                    f"{first.file_name} has {first.height} rows and {first.width} columns in {self.files[0].path}, but "
                    f"{record.height} and {record.width} in {form.path}"
                )
            read, flaws = form.read(record)
            outlines.append(read)
            problems += flaws
        columns = outlines[: self.annotators]
        voted, votes = self._vote(columns, first)
        rows = outlines[self.annotators :]
        columns = [*columns, voted]
        rows = [*rows, self._vote(rows, first)[0]] if rows else columns
        found = orders_of_masks([one.amodal for one in voted], [one.inmodal for one in voted])
        annotations = [
            KinsAnnotation(
                id=one.id,
                image_id=first.id,
                class_name=one.class_name,
                amodal=one.amodal,
                inmodal=one.inmodal,
                cluster_id=cluster,
                occlusion_order=order,
                is_crowd=one.is_crowd,
            )
            for one, cluster, order in zip(voted, found.clusters, found.orders, strict=True)
        ]
        doubts = [
            OrderFinding(doubt.kind, tuple(voted[member].id for member in doubt.members), doubt.pixels)
            for doubt in found.doubts
        ]
        return ImageResult(annotations, votes, doubts, agreement(rows, columns, self.threshold), problems)

    def _vote(self, outlines: Sequence[Sequence[Outline]], image: ImageRecord) -> tuple[list[Outline], list[Vote]]:
        voted: list[Outline] = []
        votes = []
        for group in _match(outlines, self.threshold):
            members = [outlines[annotator][place] for annotator, place in group]
            one = members[0]
            amodal = segmentation.majority([member.amodal for member in members])
            left_out = None
            if 2 * len(members) <= len(outlines):
                left_out = MINORITY
            elif not segmentation.area(amodal):
                left_out = NO_CONSENSUS
            else:
                inmodal = segmentation.majority([member.inmodal for member in members])
                voted.append(Outline(len(voted) + 1, one.class_name, one.is_crowd, amodal, inmodal))
            ids = {annotator: outlines[annotator][place].id for annotator, place in group}
            ious = [_iou(a.amodal, b.amodal) for a, b in itertools.combinations(members, 2)]
            votes.append(
                Vote(
                    image_id=image.id,
                    file_name=image.file_name,
                    class_name=one.class_name,
                    members=tuple(ids.get(annotator) for annotator in range(len(outlines))),
                    amodal_iou=float(np.mean(ious)) if ious else None,
                    voted_id=None if left_out else len(voted),
                    left_out=left_out,
                )
            )
        return voted, votes


@dataclass(frozen=True)
class FileForm:
    """What it takes to read an annotation file's records."""

    path: Path
    release: str
    categories: Mapping[int, str]

    def read(self, record: ImageRecord) -> tuple[list[Outline], list[Problem]]:
        """The readable instances of an image."""
        outlines, problems = [], []
        for annotation in record.annotations:
            instance, flaws = read_instance(annotation, KEYS[self.release], record.height, record.width)
            problems += [(flaw, annotation["id"]) for flaw in flaws]
            if instance is not None:
                name = self.categories[instance.category_id]
                outlines.append(Outline(instance.id, name, instance.is_crowd, instance.amodal, instance.inmodal))
        return outlines, problems


def same_images(files: Sequence[AnnotationFile]) -> list[tuple[ImageRecord, ...]]:
    """The records of each image in every file, in the order of the first file.

    Images are the same where they have the same path; where not all files have the same paths, since they write other
    folders before the names of the images, where they have the same name.

    Raises:
        DataError: a file has an image that another one has not, or two of one name where only names are alike.
    """
    by_path = [{image.file_name: image for image in file.images} for file in files]
    if any(records.keys() != by_path[0].keys() for records in by_path):
        by_path = [_by_name(file) for file in files]
    for file, records in zip(files, by_path, strict=True):
        for name in records.keys() ^ by_path[0].keys():
            has, lacks = (file, files[0]) if name in records else (files[0], file)
            raise DataError(f"{has.path} has the image {name}, which {lacks.path} has not: vote on the same images")
    return [tuple(records[name] for records in by_path) for name in by_path[0]]


def _by_name(file: AnnotationFile) -> dict[str, ImageRecord]:
    records: dict[str, ImageRecord] = {}
    for image in file.images:
        name = PurePosixPath(image.file_name).name
        other = records.setdefault(name, image)
        if other is not image:
            raise DataError(
                f"{file.path}: the images {other.id} ({other.file_name}) and {image.id} ({image.file_name}) have one "
                "name, and other files of the vote write other folders: nothing says which is which"
            )
    return records


def joined_categories(files: Sequence[AnnotationFile]) -> dict[str, int]:
    """Every class of the files with its category id.

    Raises:
        DataError: a class or an id means something else in another file.
    """
    joined: dict[str, int] = {}
    names: dict[int, str] = {}
    for file in files:
        for identifier, name in file.categories.items():
            if joined.setdefault(name, identifier) != identifier or names.setdefault(identifier, name) != name:
                raise DataError(
                    f"{file.path}: category {identifier} is {name!r}, but {names.get(identifier)!r} has that id, or "
                    f"{name!r} the id {joined[name]}, in a file before it; give all files the same categories"
                )
    return joined


def agreement(rows: Sequence[Sequence[Outline]], columns: Sequence[Sequence[Outline]], threshold: float) -> Agreement:
    """How far the outlines of one image agree, every row with every column, each pair of them matched by itself."""
    shape = (len(rows), len(columns))
    sums, pairs, either = np.zeros((2, *shape)), np.zeros((2, *shape), np.int64), np.zeros(shape, np.int64)
    for (r, row), (c, column) in itertools.product(enumerate(rows), enumerate(columns)):
        groups = _match([row, column], threshold)
        either[r, c] = len(groups)
        for group in groups:
            if len(group) < 2:
                continue
            one, other = row[group[0][1]], column[group[1][1]]
            for index, masks in enumerate(((one.amodal, other.amodal), (one.inmodal, other.inmodal))):
                if any(segmentation.area(mask) for mask in masks):
                    sums[index, r, c] += _iou(*masks)
                    pairs[index, r, c] += 1
    return Agreement(sums, pairs, either)


def _match(outlines: Sequence[Sequence[Outline]], threshold: float) -> list[tuple[tuple[int, int], ...]]:
    return match_instances(
        [[one.amodal for one in annotator] for annotator in outlines],
        [[(one.class_name, one.is_crowd) for one in annotator] for annotator in outlines],
        threshold,
    )


def _iou(first: Rle, second: Rle) -> float:
    return float(coco_mask.iou([first], [second], [0])[0, 0])
