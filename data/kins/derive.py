"""Annotation files whose orders, or inmodal masks, are computed from what else they hold."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from amodal_jax.segmentation import Rle
from data.kins import orders, orders_of_masks
from data.kins.annotation_ids import NewId, with_sound_ids
from data.kins.annotations import KEYS, AnnotationFile, ImageRecord, Keys
from data.kins.inmodal_masks import inmodal_masks
from data.kins.instances import Instance, read_instance
from data.kins.orders import OrderFinding, order_violations
from data.kins.problems import FIRST_IDS, Problem, ProblemCounts, nothing_left
from data.kins.writer import KinsAnnotation, write_annotations
from data.worker_processes import map_with_progress

CONSEQUENCES = {
    orders.EQUAL_ORDERS: "both keep the overlap",
    orders.OTHER_CLUSTERS: "both keep the overlap",
    orders.ZERO_OVERLAPS: "taken as the nearer",
    orders.ORDER_ALONE: "hides nothing",
    orders_of_masks.VISIBLE_IN_NEITHER: "the first of the file taken as the nearer",
    orders_of_masks.VISIBLE_IN_BOTH: "the one with more of it taken as the nearer, the first where both have as much",
    orders_of_masks.CYCLE: "the one that is hidden least taken as the nearest",
}


@dataclass(frozen=True)
class Derived:
    """The annotations of one image, or of a file."""

    annotations: list[KinsAnnotation]
    findings: list[OrderFinding]  # members are ids of annotations
    problems: list[Problem]
    new_ids: list[NewId] = field(default_factory=list)


def derive_orders(image: ImageRecord, keys: Keys, class_names: Mapping[int, str]) -> Derived:
    """An image's annotations with clusters and orders computed from their masks; doubts are the findings."""
    drawn, instances, problems = _read(image, keys, class_names)
    found = orders_of_masks.orders_of_masks([one.amodal for one in instances], [one.inmodal for one in instances])
    annotations = [
        replace(annotation, cluster_id=cluster, occlusion_order=order)
        for annotation, cluster, order in zip(drawn, found.clusters, found.orders, strict=True)
    ]
    return Derived(annotations, _by_id(found.doubts, instances), problems)


def derive_inmodal(image: ImageRecord, keys: Keys, class_names: Mapping[int, str]) -> Derived:
    """An image's annotations with inmodal masks computed from amodal ones and orders; violations are the findings.

    Raises:
        DataError: an instance has no order.
    """
    drawn, instances, problems = _read(image, keys, class_names)
    for instance in instances:
        if instance.cluster_id is None or instance.occlusion_order is None:
            raise DataError(
                f"annotation {instance.id} of image {image.id} has no cluster and order, `oco_id` and `ico_id` of "
                "KINS 2020; `dataset.py orders` computes them from masks"
            )
    amodal = [instance.amodal for instance in instances]
    clusters = [annotation.cluster_id for annotation in drawn]
    numbers = [annotation.occlusion_order for annotation in drawn]
    annotations = [
        replace(annotation, inmodal=annotation.amodal if visible == whole else visible)
        for annotation, whole, visible in zip(drawn, amodal, inmodal_masks(amodal, clusters, numbers), strict=True)
    ]
    return Derived(annotations, _by_id(order_violations(amodal, clusters, numbers), instances), problems)


def derive_file(
    file: AnnotationFile, derive: Callable[..., Derived], *, workers: int = 1, progress: bool = True
) -> Derived:
    """Derives every image of an annotation file, of either release.

    Annotations keep their masks as they are drawn, and their ids where these are sound (`annotation_ids`); findings and
    problems are of the ids that they have then. Those that cannot be read are left out.

    Args:
        file: what to derive from.
        derive: one of the functions above.
        workers: processes.
        progress: show a bar with rate and time left.

    Raises:
        DataError: an annotation lacks what the others are derived from, or none can be read.
    """
    file, new_ids = with_sound_ids(file)
    whole = Derived([], [], list(file.problems), new_ids)
    one = functools.partial(derive, keys=KEYS[file.release], class_names=file.categories)
    with map_with_progress(one, file.images, description=file.path.name, workers=workers, progress=progress) as images:
        try:
            for image in images:
                whole.annotations.extend(image.annotations)
                whole.findings.extend(image.findings)
                whole.problems.extend(image.problems)
        except DataError as error:
            raise DataError(f"{file.path}: {error}") from None
    if not whole.annotations:
        counts = ProblemCounts()
        counts.add(whole.problems)
        raise nothing_left(file.path, counts)
    return whole


def write_derived(path: Path, file: AnnotationFile, derived: Derived) -> None:
    """Writes an annotation file in the form of 2020, with the images and category ids of the file behind it."""
    write_annotations(
        path,
        [image.to_json() for image in file.images],
        derived.annotations,
        {name: identifier for identifier, name in file.categories.items()},
        info=file.info,
    )


def describe_findings(findings: Iterable[OrderFinding]) -> list[str]:
    """A line for each kind of finding: how many, what was done, and the first few annotations."""
    by_kind: dict[str, list[OrderFinding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    lines = []
    for kind, members in sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0])):
        first = "; ".join(" and ".join(map(str, finding.members)) for finding in members[:FIRST_IDS])
        more = "; ..." if len(members) > FIRST_IDS else ""
        lines.append(f"{len(members)} x {kind}: {CONSEQUENCES[kind]} (annotations {first}{more})")
    return lines


def _read(
    image: ImageRecord, keys: Keys, class_names: Mapping[int, str]
) -> tuple[list[KinsAnnotation], list[Instance], list[Problem]]:
    """The readable instances of an image, as they would be written again and as they are."""
    drawn, instances, problems = [], [], []
    for annotation in image.annotations:
        instance, flaws = read_instance(annotation, keys, image.height, image.width)
        problems += [(flaw, annotation["id"]) for flaw in flaws]
        if instance is None:
            continue
        amodal = _as_drawn(annotation[keys.amodal_mask], instance.amodal)
        inmodal = _as_drawn(annotation.get(keys.inmodal_mask), instance.inmodal)
        if inmodal == instance.amodal:
            inmodal = amodal
        instances.append(instance)
        drawn.append(
            KinsAnnotation(
                id=instance.id,
                image_id=image.id,
                class_name=class_names[instance.category_id],
                amodal=amodal,
                inmodal=inmodal,
                cluster_id=instance.cluster_id or 0,
                occlusion_order=instance.occlusion_order or 0,
                is_crowd=instance.is_crowd,
            )
        )
    return drawn, instances, problems


def _as_drawn(stored: Any, read: Rle) -> list[list[float]] | Rle:
    """A mask as polygons where it was drawn so and all of them could be read, and as what was read otherwise."""
    drawn = isinstance(stored, list) and segmentation.parse(stored, *read["size"]) == (read, ())
    return stored if drawn else read


def _by_id(findings: Iterable[OrderFinding], instances: list[Instance]) -> list[OrderFinding]:
    return [replace(finding, members=tuple(instances[member].id for member in finding.members)) for finding in findings]
