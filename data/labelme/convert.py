"""labelme projects to KINS json and KITTI's folders, which the KINS builder reads."""

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.visible_files import visible_files
from data.all_problems import attempt_all, errors_among, raise_all
from data.kins.inmodal_masks import inmodal_masks
from data.kins.orders import clusters_and_orders
from data.kins.orders_of_masks import orders_of_masks
from data.kins.overlaps import overlapping
from data.kins.scenes import Scene, Written, split_scenes, write_scenes
from data.kins.writer import KinsAnnotation
from data.labelme.shapes import NO_CLASSES, LabelledImage, read_labelled_image
from data.outputs import check_output_folder


@dataclass(frozen=True)
class Summary(Written):
    """What a conversion wrote."""

    class_names: tuple[str, ...]
    flaws: tuple[str, ...]
    ignored: int  # shapes left out, since their label is no class
    others: tuple[Path, ...]  # json files that are not labelme's
    stored_anew: int  # images that were in a json file, or are no upright PNG or JPEG


def convert(
    source: Path,
    out: Path,
    *,
    test_fraction: float | None,
    class_names: Sequence[str] | None = None,
    image_folders: Sequence[Path] = (),
    keep_folders: bool = False,
    link_images: bool = False,
    force: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Summary:
    """Converts a folder of labelme's files, with all folders in it, as `data.labelme.shapes` reads them.

    The id of an image is its name where every image is named by a number of its own, and its place among the files
    otherwise. Everything is read and checked before anything is written, and everything that is wrong is told at once.

    Args:
        source: holds the json files. Hidden files and folders, and `out`, are passed over.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: the share of images for the test split, as `split_scenes` takes it.
        class_names: every class; None for those that occur. Category ids follow from them, so that annotators of the
            same images have to share one list.
        image_folders: where images are looked for that are not where their file says.
        keep_folders: leave images in the folders that they lie in, so that one name may occur in several.
        link_images: make symbolic links instead of copies, but of images that have to be stored anew.
        force: write into a folder that is there already.
        workers: processes that read files, where there are many.
        progress: show a bar.

    Raises:
        DataError: a file that cannot be used, a label that is no class, objects that overlap without anything that says
            which is nearer, two files of one image, two images of one name, a split that would be empty, or a folder
            that is there already.
    """
    check_output_folder(out, force=force)
    paths = [path for path in visible_files(source, (".json",), in_folders=True) if not _is_below(path, out)]
    read = functools.partial(
        read_labelled_image,
        source=source,
        image_folders=tuple(image_folders),
        class_names=None if class_names is None else tuple(class_names),
    )
    results = attempt_all(read, paths, description="read", workers=workers, progress=progress)
    images = [result for result in results if isinstance(result, LabelledImage)]
    errors = errors_among(results)
    if not images and not errors:
        raise DataError(f"{source} is no folder with json files of labelme")
    names, found = _names(images, keep_folders=keep_folders)
    errors += found
    ids = itertools.count(1)
    scenes = []
    for image, name, image_id in zip(images, names, _image_ids(names), strict=True):
        try:
            scenes.append(_scene(image, name, image_id, ids))
        except DataError as error:
            errors.append(error)
    raise_all(source, errors)
    splits = split_scenes(scenes, test_fraction)
    occurring = {thing.class_name for image in images for thing in image.objects}
    classes = sorted(occurring) if class_names is None else list(class_names)
    flaws = tuple(flaw for image in images for flaw in image.flaws)
    ignored = sum(image.ignored for image in images)
    written = write_scenes(
        splits,
        out,
        classes,
        source=source,
        flaws=[*flaws, *([f"{ignored} shapes labelled {' or '.join(NO_CLASSES)}"] if ignored else [])],
        test_fraction=test_fraction,
        link_images=link_images,
        force=force,
    )
    return Summary(
        **vars(written),
        class_names=tuple(classes),
        flaws=flaws,
        ignored=ignored,
        others=tuple(path for path, result in zip(paths, results, strict=True) if result is None),
        stored_anew=sum(image.image.content is not None for image in images),
    )


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _image_ids(names: Sequence[str]) -> Sequence[int]:
    stems = [Path(name).stem for name in names]
    if all(stem.isascii() and stem.isdigit() and len(stem) < 19 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return range(1, len(names) + 1)


def _names(images: Sequence[LabelledImage], *, keep_folders: bool) -> tuple[list[str], list[DataError]]:
    """The name of each image in the dataset, and an error for each that another image has already."""
    names = [image.image.name for image in images]
    if keep_folders and images:
        folders = [Path(os.path.abspath(image.image.path.parent)) for image in images]
        root = Path(os.path.commonpath(folders))
        names = [(folder.relative_to(root) / name).as_posix() for folder, name in zip(folders, names, strict=True)]
    by_name: dict[str, LabelledImage] = {}
    errors = []
    for image, name in zip(images, names, strict=True):
        other = by_name.setdefault(name, image)
        if other is image:
            continue
        if image.image.path.resolve() == other.image.path.resolve():
            problem = f"{other.path} and {image.path} are both of {image.image.path}; leave one of the two files"
        else:
            apart = not keep_folders and image.image.path.parent != other.image.path.parent
            way_out = "--keep-folders keeps them apart" if apart else "rename one of the two"
            problem = (
                f"{other.image.path} (of {other.path}) and {image.image.path} (of {image.path}) would both be {name} "
                f"in the dataset; {way_out}"
            )
        errors.append(DataError(problem))
    return names, errors


def _scene(image: LabelledImage, name: str, image_id: int, ids: Iterator[int]) -> Scene:
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
    found = image.image
    return Scene(image_id, found.path, found.height, found.width, annotations, name=name, content=found.content)


def _clusters_and_orders(image: LabelledImage) -> tuple[list[int], list[int]]:
    """By the numbers, where all that overlap have one; by the visible parts otherwise."""
    amodal = [thing.amodal for thing in image.objects]
    names = [thing.name for thing in image.objects]
    overlaps = overlapping(amodal)
    depths = [thing.depth for thing in image.objects]
    missing = [name for name, depth, row in zip(names, depths, overlaps, strict=True) if depth is None and row.any()]
    if not missing:
        numbers = [depth or 0 for depth in depths]
        raise_all(
            image.path,
            [
                DataError(f"{image.path}: {names[j]} and {names[i]} overlap, and both have number {numbers[i]}")
                for i, row in enumerate(overlaps)
                for j in range(i)
                if row[j] and numbers[i] == numbers[j]
            ],
        )
        return clusters_and_orders(amodal, numbers)
    found = orders_of_masks(amodal, [thing.visible or thing.amodal for thing in image.objects])
    raise_all(
        image.path,
        [
            DataError(
                f"{image.path}: {', '.join(names[member] for member in doubt.members)} overlap, and nothing says which "
                "is nearer; write a number into the description of each object that overlaps another (1 is nearest), "
                f"or draw the visible parts. Without a number: {', '.join(missing)}"
            )
            for doubt in found.doubts
        ],
    )
    return found.clusters, found.orders
