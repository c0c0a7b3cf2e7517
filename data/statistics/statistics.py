"""Everything that section 3 of the KINS paper reports about its dataset, of any annotation files.

`measure` gives the figures of one file, `combine` those of several together; what they are compared with stands in
`data/statistics/published.py`. Shares and ratios are between 0 and 1.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from amodal_jax.occlusion import is_occluded
from data.kins.annotations import AnnotationFile
from data.shared.image_lookup import find_paths
from data.shared.worker_processes import map_with_progress
from data.statistics.image_measures import ImageMeasurer, ImageMeasures

LEVEL_BINS = 10  # of the occlusion level, from 0 to 1
IOU_BINS = 20  # of an image's mean IoU with KITTI's boxes, from 0 to 1
HIGH_ORDER = 6  # the paper gives the share of clusters with more occluded instances
CONSISTENT_IOU = 0.65  # the paper gives the share of images with a mean IoU over it


@dataclass(frozen=True)
class KittiConsistency:
    """Visible boxes against KITTI's own (Figure 4b)."""

    images: int  # that have a label file
    images_compared: int  # with a pair
    kitti_objects: int
    matched: int
    instances: int  # of the images that have a label file
    mean_iou: float | None  # over the pairs
    share_of_images_over_065: float | None  # of the images compared, by their mean IoU
    image_iou_histogram: tuple[int, ...]  # images by mean IoU, in IOU_BINS equal bins


@dataclass(frozen=True)
class Statistics:
    """The figures of one annotation file, or of several together. None stands for a mean over nothing."""

    images: int
    images_without_instances: int
    instances: int
    annotations_left_out: int  # without a readable amodal mask
    instances_per_image: float
    polygon_points_per_instance: float | None  # of the amodal masks that are polygons
    instances_with_polygons: int
    covered_share: float | None  # of all images' pixels together, by at least one amodal mask
    mean_covered_share: float | None  # the mean over images
    occluded_share: float | None  # instances of which at least a pixel is hidden
    noticeably_occluded_share: float | None  # of which more than 5 % is hidden
    mean_occlusion_ratio: float | None  # over all instances
    mean_occlusion_ratio_of_occluded: float | None  # over those of which at least a pixel is hidden
    classes: dict[str, int]  # instances by class, in the order of category ids
    amodal_simplicity: float | None  # means over instances
    amodal_convexity: float | None
    inmodal_simplicity: float | None  # over those of which something is visible
    inmodal_convexity: float | None
    occlusion_level_histogram: tuple[int, ...]  # occluded instances by ratio, in LEVEL_BINS equal bins
    clusters: int  # of two or more instances
    max_occlusion_orders: dict[int, int]  # clusters by the number of occluded instances in them
    share_of_clusters_over_order_6: float | None
    highest_stored_orders: dict[int, int]  # clusters by the highest order in them, where the file has orders
    match_numbers: dict[int, int]  # instances by the number of others that overlap them
    kitti: KittiConsistency | None

    def to_json(self) -> dict[str, Any]:
        """As plain values; json makes text of the numbers that are keys."""
        return asdict(self)


def measure(
    file: AnnotationFile, *, kitti_labels: Path | None = None, workers: int = 1, progress: bool = False
) -> list[ImageMeasures]:
    """Measures every image of an annotation file, which `summarise` makes figures of.

    Args:
        file: of either release.
        kitti_labels: the folder of KITTI's label files of these images; images without one are not compared.
        workers: processes, where there are images enough to be worth them.
        progress: draw a progress bar on stderr.

    Raises:
        DataError: a label file is damaged, or that of two images.
    """
    names = {image.id: PurePosixPath(image.file_name).with_suffix(".txt").as_posix() for image in file.images}
    labels: dict[int, Path] = {}
    if kitti_labels is not None:
        found = find_paths(names, kitti_labels, str(file.path))
        labels = {identifier: kitti_labels / path for identifier, path in found.items()}
    labelled = [(image, labels.get(image.id)) for image in file.images]
    measurer = ImageMeasurer(file.release, file.categories)
    with map_with_progress(
        measurer, labelled, description=file.path.name, workers=workers, progress=progress
    ) as measures:
        return list(measures)


def summarise(images: Iterable[ImageMeasures], class_names: Iterable[str]) -> Statistics:
    """The figures of images, of one file or of several.

    Args:
        images: as `measure` gives them.
        class_names: those to count, in the order of the table.
    """
    images = list(images)
    instances = [instance for image in images for instance in image.instances]
    clusters = [cluster for image in images for cluster in image.clusters]
    ratios = np.array([instance.occlusion_ratio for instance in instances])
    occluded = ratios[ratios > 0]
    points = [instance.polygon_points for instance in instances if instance.polygon_points is not None]
    amodal = [instance.amodal_shape for instance in instances]
    inmodal = [instance.inmodal_shape for instance in instances if instance.inmodal_shape is not None]
    counted = Counter(instance.class_name for instance in instances)
    pixels = sum(image.pixels for image in images)
    return Statistics(
        images=len(images),
        images_without_instances=sum(not image.instances for image in images),
        instances=len(instances),
        annotations_left_out=sum(image.left_out for image in images),
        instances_per_image=len(instances) / max(len(images), 1),
        polygon_points_per_instance=_mean(points),
        instances_with_polygons=len(points),
        covered_share=sum(image.covered_pixels for image in images) / pixels if pixels else None,
        mean_covered_share=_mean([image.covered_pixels / image.pixels for image in images if image.pixels]),
        occluded_share=_mean(ratios > 0),
        noticeably_occluded_share=_mean(is_occluded(ratios)),
        mean_occlusion_ratio=_mean(ratios),
        mean_occlusion_ratio_of_occluded=_mean(occluded),
        classes={name: counted[name] for name in dict.fromkeys(class_names)},
        amodal_simplicity=_mean([shape.simplicity for shape in amodal]),
        amodal_convexity=_mean([shape.convexity for shape in amodal]),
        inmodal_simplicity=_mean([shape.simplicity for shape in inmodal]),
        inmodal_convexity=_mean([shape.convexity for shape in inmodal]),
        occlusion_level_histogram=_histogram(occluded, LEVEL_BINS),
        clusters=len(clusters),
        max_occlusion_orders=_counts(cluster.occluded for cluster in clusters),
        share_of_clusters_over_order_6=_mean([cluster.occluded > HIGH_ORDER for cluster in clusters]),
        highest_stored_orders=_counts(
            cluster.highest_order for cluster in clusters if cluster.highest_order is not None
        ),
        match_numbers=_counts(instance.overlapping for instance in instances),
        kitti=_kitti_consistency(images),
    )


def _kitti_consistency(images: list[ImageMeasures]) -> KittiConsistency | None:
    labelled = [(image, image.kitti) for image in images if image.kitti is not None]
    if not labelled:
        return None
    ious = [agreement.ious for _, agreement in labelled]
    means = np.array([np.mean(values) for values in ious if values])
    return KittiConsistency(
        images=len(labelled),
        images_compared=len(means),
        kitti_objects=sum(agreement.kitti_objects for _, agreement in labelled),
        matched=sum(map(len, ious)),
        instances=sum(len(image.instances) for image, _ in labelled),
        mean_iou=_mean([iou for values in ious for iou in values]),
        share_of_images_over_065=_mean(means > CONSISTENT_IOU),
        image_iou_histogram=_histogram(means, IOU_BINS),
    )


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _counts(values: Iterable[int]) -> dict[int, int]:
    return dict(sorted(Counter(values).items()))


def _histogram(values: np.ndarray, bins: int) -> tuple[int, ...]:
    return tuple(np.histogram(values, bins, (0, 1))[0].tolist())
