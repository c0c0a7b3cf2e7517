"""labelme projects to KINS json and KITTI's folders, which the KINS builder reads."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amodal_jax.errors import DataError
from data.kins.inmodal_masks import inmodal_masks
from data.kins.orders import clusters_and_orders
from data.kins.orders_of_masks import orders_of_masks
from data.kins.overlaps import overlapping
from data.kins.scenes import Scene, Written, split_scenes, write_scenes
from data.kins.writer import KinsAnnotation
from data.labelme.shapes import LabelledImage, read_labelled_image
from data.outputs import check_output_folder
from data.worker_processes import map_with_progress


@dataclass(frozen=True)
class Summary(Written):
    """What a conversion wrote."""

    class_names: tuple[str, ...]
    flaws: tuple[str, ...]


def convert(
    source: Path,
    out: Path,
    *,
    test_fraction: float | None,
    class_names: Sequence[str] | None = None,
    image_folders: Sequence[Path] = (),
    link_images: bool = False,
    force: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Summary:
    """Converts a folder of labelme's files, as `data.labelme.shapes` reads them.

    The id of an image is its name where every image is named by a number, and its place in the folder otherwise.
    Everything is read and checked before anything is written.

    Args:
        source: holds the json files.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: the share of images for the test split, as `split_scenes` takes it.
        class_names: every class; None for those that occur. Category ids follow from them, so that annotators of the
            same images have to share one list.
        image_folders: where images are looked for that are not where their file says.
        link_images: make symbolic links instead of copies.
        force: write into a folder that is there already.
        workers: processes that read files, where there are many.
        progress: show a bar.

    Raises:
        DataError: a file that cannot be used, a label that is no class, objects that overlap without anything that says
            which is nearer, a split that would be empty, or a folder that is there already.
    """
    check_output_folder(out, force=force)
    paths = sorted(source.glob("*.json"))
    if not paths:
        raise DataError(f"{source} is no folder with json files of labelme")
    read = functools.partial(read_labelled_image, image_folders=tuple(image_folders))
    with map_with_progress(read, paths, description="read", workers=workers, progress=progress) as results:
        images = list(results)
    found = {thing.class_name for image in images for thing in image.objects}
    for image in images:
        for thing in image.objects:
            if class_names is not None and thing.class_name not in class_names:
                raise DataError(f"{image.path}: {thing.name} is none of the classes {', '.join(class_names)}")
    stems = [image.image_path.stem for image in images]
    numbered = all(stem.isascii() and stem.isdigit() and len(stem) < 19 for stem in stems)
    image_ids = [int(stem) for stem in stems] if numbered else range(1, len(images) + 1)
    ids = itertools.count(1)
    scenes = [_scene(image, image_id, ids) for image, image_id in zip(images, image_ids, strict=True)]
    splits = split_scenes(scenes, test_fraction)
    classes = sorted(found) if class_names is None else list(class_names)
    written = write_scenes(splits, out, classes, source=source, link_images=link_images, force=force)
    return Summary(
        **vars(written),
        class_names=tuple(classes),
        flaws=tuple(flaw for image in images for flaw in image.flaws),
    )


def _scene(image: LabelledImage, image_id: int, ids: Iterator[int]) -> Scene:
    clusters, orders = _clusters_and_orders(image)
    derived = inmodal_masks([thing.amodal for thing in image.objects], clusters, orders)
    annotations = tuple(
        KinsAnnotation(
            id=next(ids),
            image_id=image_id,
            class_name=thing.class_name,
            amodal=thing.amodal,
            inmodal=thing.visible or visible,
            cluster_id=cluster,
            occlusion_order=order,
        )
        for thing, visible, cluster, order in zip(image.objects, derived, clusters, orders, strict=True)
    )
    return Scene(image_id, image.image_path, image.height, image.width, annotations)


def _clusters_and_orders(image: LabelledImage) -> tuple[list[int], list[int]]:
    """By the numbers, where all that overlap have one; by the visible parts otherwise."""
    amodal = [thing.amodal for thing in image.objects]
    names = [thing.name for thing in image.objects]
    overlaps = overlapping(amodal)
    depths = [thing.depth for thing in image.objects]
    missing = [name for name, depth, row in zip(names, depths, overlaps, strict=True) if depth is None and row.any()]
    if not missing:
        numbers = [depth or 0 for depth in depths]
        for i, row in enumerate(overlaps):
            for j in range(i):
                if row[j] and numbers[i] == numbers[j]:
                    raise DataError(
                        f"{image.path}: {names[j]} and {names[i]} overlap, and both have number {numbers[i]}"
                    )
        return clusters_and_orders(amodal, numbers)
    found = orders_of_masks(amodal, [thing.visible or thing.amodal for thing in image.objects])
    for doubt in found.doubts:
        raise DataError(
            f"{image.path}: {', '.join(names[member] for member in doubt.members)} overlap, and nothing says which is "
            "nearer; write a number into the description of each object that overlaps another (1 is nearest), or draw "
            f"the visible parts. Without a number: {', '.join(missing)}"
        )
    return found.clusters, found.orders
