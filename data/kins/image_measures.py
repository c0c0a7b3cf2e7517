"""What the statistics need of one image: everything that takes its masks, so that no mask outlives it.

Boxes are [x1, y1, x2, y2] in pixels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amodal_jax import segmentation
from data.kins.annotations import KEYS, ImageRecord
from data.kins.instances import Box, Instance, read_instance
from data.kins.orders import clusters_and_orders
from data.kins.overlaps import box_ious, overlapping
from data.kins.shape_complexity import Shape, stored_shape
from data.kitti3d.labels import read_labels


@dataclass(frozen=True)
class InstanceMeasures:
    """One object."""

    class_name: str
    occlusion_ratio: float  # hidden area / amodal area
    polygon_points: int | None  # of the amodal mask; None where the file has no polygons
    amodal_shape: Shape
    inmodal_shape: Shape | None  # None where nothing is visible
    overlapping: int  # other objects whose amodal masks share a pixel with this one's


@dataclass(frozen=True)
class ClusterMeasures:
    """Two or more objects that the file, or where it does not say their overlaps, join."""

    instances: int
    occluded: int  # of which a part is hidden
    highest_order: int | None  # None where the file has no orders


@dataclass(frozen=True)
class KittiAgreement:
    """An image's visible boxes against KITTI's own."""

    kitti_objects: int  # but "DontCare"
    ious: tuple[float, ...]  # of the pairs


@dataclass(frozen=True)
class ImageMeasures:
    """One image."""

    pixels: int
    covered_pixels: int  # by the amodal mask of at least one object
    instances: tuple[InstanceMeasures, ...]
    left_out: int  # annotations of which no amodal mask can be read
    clusters: tuple[ClusterMeasures, ...]
    kitti: KittiAgreement | None  # None where there are no labels of the image


@dataclass(frozen=True)
class ImageMeasurer:
    """Measures the images of one annotation file."""

    release: str
    class_names: dict[int, str]  # by category id

    def __call__(self, labelled: tuple[ImageRecord, Path | None]) -> ImageMeasures:
        """Measures an image, and compares it with the file of its KITTI labels, where it has one.

        Raises:
            DataError: the image's KITTI labels are damaged.
        """
        image, labels = labelled
        keys = KEYS[self.release]
        read = [
            (annotation, instance)
            for annotation in image.annotations
            if (instance := read_instance(annotation, keys, image.height, image.width)[0]) is not None
        ]
        instances = [instance for _, instance in read]
        amodal = [instance.amodal for instance in instances]
        overlaps = overlapping(amodal)
        return ImageMeasures(
            pixels=image.height * image.width,
            covered_pixels=segmentation.area(segmentation.union(amodal)) if amodal else 0,
            instances=tuple(
                InstanceMeasures(
                    class_name=self.class_names[instance.category_id],
                    occlusion_ratio=instance.occlusion_ratio,
                    polygon_points=_points(annotation[keys.amodal_mask]),
                    amodal_shape=stored_shape(annotation[keys.amodal_mask], instance.amodal),
                    inmodal_shape=stored_shape(annotation.get(keys.inmodal_mask), instance.inmodal)
                    if segmentation.area(instance.inmodal)
                    else None,
                    overlapping=int(overlaps[index].sum()),
                )
                for index, (annotation, instance) in enumerate(read)
            ),
            left_out=len(image.annotations) - len(read),
            clusters=_clusters(instances),
            kitti=None if labels is None else _kitti_agreement(labels, instances),
        )


def _kitti_agreement(labels: Path, instances: Sequence[Instance]) -> KittiAgreement:
    kitti = [labelled.box for labelled in read_labels(labels)]
    # Tightened to the visible mask, as the paper does: KITTI's boxes are around what is seen.
    visible = [
        segmentation.bounding_box(instance.inmodal) for instance in instances if segmentation.area(instance.inmodal)
    ]
    return KittiAgreement(len(kitti), tuple(matched_ious(visible, kitti)))


def matched_ious(boxes: Sequence[Box], others: Sequence[Box]) -> list[float]:
    """The IoUs of the pairs that boxes of two lists form, the best pair first and each box once."""
    if not boxes or not others:
        return []
    ious = box_ious(np.array(boxes, float), np.array(others, float))
    matched = []
    while (best := float(ious.max())) > 0:
        matched.append(best)
        row, column = np.unravel_index(int(ious.argmax()), ious.shape)
        ious[row, :] = ious[:, column] = 0
    return matched


def _points(stored: Any) -> int | None:
    if not isinstance(stored, list):
        return None
    return sum(len(points) for points in segmentation.polygons(stored)[0])


def _clusters(instances: Sequence[Instance]) -> tuple[ClusterMeasures, ...]:
    stored = [instance for instance in instances if instance.cluster_id is not None]
    if stored:
        # Those of order 0 overlap nothing, whatever cluster they are put in.
        members = {
            cluster: [other for other in stored if other.cluster_id == cluster and other.occlusion_order != 0]
            for cluster in dict.fromkeys(instance.cluster_id for instance in stored)
        }
    else:
        clusters, _ = clusters_and_orders([instance.amodal for instance in instances], range(len(instances)))
        members = {
            cluster: [instances[index] for index, other in enumerate(clusters) if other == cluster]
            for cluster in Counter(clusters)
        }
    return tuple(
        ClusterMeasures(
            instances=len(cluster),
            occluded=sum(instance.occlusion_ratio > 0 for instance in cluster),
            highest_order=max(
                (instance.occlusion_order for instance in cluster if instance.occlusion_order is not None), default=None
            ),
        )
        for cluster in members.values()
        if len(cluster) > 1
    )
