"""COCO-Amodal annotations to KINS json and KITTI's folders, which the KINS builder reads.

COCOA's images have regions from near to far, each with one amodal polygon, a free name, and, where something hides part
of it, the mask of its visible part. Zhu, Tian, Metaxas and Dollar, "Semantic Amodal Segmentation", CVPR 2017.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amodal_jax.errors import DataError
from amodal_jax.files.json_file import shorten
from amodal_jax.files.json_values import truth_value
from amodal_jax.masks import segmentation
from amodal_jax.masks.segmentation import Rle
from data.cocoa.annotation_files import AnnotatedImage, find_annotations
from data.kins.problems import CONSEQUENCES, INMODAL_MISSING
from data.kins.scenes import Scene, Written, split_scenes, write_scenes
from data.kins.visible_part import visible_part
from data.kins.writer import KinsAnnotation
from data.orders.orders import clusters_and_orders
from data.shared.all_problems import map_all, raise_all
from data.shared.image_files import checked_size
from data.shared.json_file import integer, name
from data.shared.outputs import check_output_folder


@dataclass(frozen=True)
class Region:
    """One annotated region."""

    class_name: str  # normalised
    name: str  # as it stands in the file
    depth: int  # 1 is nearest
    amodal: Rle
    visible: Rle


@dataclass(frozen=True)
class RegionImage:
    """One image with its regions."""

    image_id: int
    image_path: Path
    height: int
    width: int
    regions: tuple[Region, ...]
    stuff_left_out: int
    flaws: tuple[str, ...]  # what was wrong, with the file and the region


@dataclass(frozen=True)
class Summary(Written):
    """What a conversion wrote."""

    names: dict[str, Counter[str]]  # class name -> the files' names for it, each with its number of regions
    stuff_left_out: int
    unannotated: int  # images that the files list without an annotation, left out
    others: tuple[Path, ...]  # json files that are not COCO-Amodal's, left out
    flaws: tuple[str, ...]


def normalised_name(name: str, renames: Mapping[str, str]) -> str:
    """The class of a region's name: lower case, single spaces, none at the ends, then looked up in `renames`."""
    plain = " ".join(name.lower().split())
    return renames.get(plain, plain)


def read_regions(
    annotated: AnnotatedImage, *, include_stuff: bool, renames: Mapping[str, str], one_class: str | None = None
) -> RegionImage:
    """Reads the regions of an image, of the classes of their names or all of `one_class`.

    A region without a readable amodal polygon is left out; what a visible mask that cannot be read is taken for says
    `data.kins.visible_part`. Both are named among its flaws.

    Raises:
        DataError: the image is damaged or of another size than its file says, or a region lacks a key; `SeveralErrors`,
            where several do.
    """
    height, width = checked_size(annotated.image_path)
    if annotated.size not in (None, (height, width)):
        raise DataError(
            f"{annotated.image_path}: has {height} rows and {width} columns, but {annotated.where} is of an image of "
            f"{annotated.size[0]} and {annotated.size[1]}"
        )
    regions, flaws, stuff, errors = [], [], 0, []
    for number, region in enumerate(annotated.regions, start=1):
        where = f"{annotated.where}: region {number}"
        try:
            is_stuff, order, written = _checked_region(region, where)
        except DataError as error:
            errors.append(error)
            continue
        if is_stuff and not include_stuff:
            stuff += 1
            continue
        amodal, found = segmentation.parse(region["segmentation"], height, width)
        flaws += [f"{where}: amodal {flaw}" for flaw in found]
        if amodal is None or not segmentation.area(amodal):
            flaws.append(f"{where}: nothing of its amodal mask can be drawn; the region is left out")
            continue
        visible, kinds = visible_part(
            amodal,
            region.get("visible_mask"),
            hidden=region.get("invisible_mask"),
            occlusion_rate=region.get("occlude_rate"),
        )
        if kinds != [INMODAL_MISSING]:  # which is how COCOA says that nothing is hidden
            flaws += [f"{where}: {kind}: {CONSEQUENCES[kind]}" for kind in kinds]
        class_name = normalised_name(written, renames) if one_class is None else one_class
        regions.append(Region(class_name, region["name"], order, amodal, visible))
    raise_all(annotated.image_path, errors)
    return RegionImage(annotated.image_id, annotated.image_path, height, width, tuple(regions), stuff, tuple(flaws))


def _checked_region(region: Any, where: str) -> tuple[bool, int, str]:
    """Whether a region is stuff, its order and its name; a DataError where a key that it needs is missing or wrong."""
    if not isinstance(region, dict) or not isinstance(region.get("name"), str):
        raise DataError(f"{where}: the key 'name' is missing or of the wrong type")
    order, is_stuff = integer(region, "order", where), truth_value(region.get("isStuff"))
    if is_stuff is None:
        raise DataError(f"{where}: 'isStuff' is neither true nor false, but {shorten(region.get('isStuff'))}")
    if not isinstance(region.get("segmentation"), list | dict):
        raise DataError(f"{where}: the key 'segmentation' is missing or of the wrong type")
    written = name(region, "name")
    if written is None:
        raise DataError(f"{where} has no name that can be printed")
    return is_stuff, order, written


def convert(
    source: Path,
    out: Path,
    *,
    test_fraction: float | None,
    test_source: Path | None = None,
    image_folders: Sequence[Path] = (),
    author: str | None = None,
    include_stuff: bool = False,
    renames: Mapping[str, str] | None = None,
    one_class: str | None = None,
    link_images: bool = False,
    force: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Summary:
    """Converts files of COCOA.

    Everything is read and checked before anything is written, and everything that is wrong is told at once.

    Args:
        source: the json file of a split, or a folder of json files, as `find_annotations` reads them.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: the share of images for the test split, as `split_scenes` takes it.
        test_source: the file or folder of the test split, where `source` is that of the training split alone.
        image_folders: where images are looked for, as `find_annotations` takes them.
        author: whose annotations are taken, as `find_annotations` takes it.
        include_stuff: keep the regions that are marked as stuff (grass, sky) too.
        renames: of normalised names, to join spellings.
        one_class: the class of all regions, whatever they are called; None: their names are their classes.
        link_images: make symbolic links instead of copies.
        force: write into a folder that is there already.
        workers: processes that read masks, where there are many.
        progress: show a bar.

    Raises:
        DataError: a file that cannot be used, two annotations of one image, a split that would be empty, or a folder
            that is there already.
    """
    check_output_folder(out, force=force)
    sources = [source] if test_source is None else [source, test_source]
    found = [find_annotations(one, image_folders, author) for one in sources]
    images = map_all(
        functools.partial(read_regions, include_stuff=include_stuff, renames=renames or {}, one_class=one_class),
        [image for annotations in found for image in annotations.images],
        source=source,
        description="read",
        workers=workers,
        progress=progress,
    )
    names: dict[str, Counter[str]] = {}
    for region in itertools.chain.from_iterable(image.regions for image in images):
        names.setdefault(region.class_name, Counter())[region.name] += 1
    class_names = sorted(names)
    ids = itertools.count(1)
    scenes = [_scene(image, ids) for image in images]
    if test_source is None:
        splits = split_scenes(scenes, test_fraction)
    else:
        splits = {"train": scenes[: len(found[0].images)], "test": scenes[len(found[0].images) :]}
    flaws = tuple(flaw for image in images for flaw in image.flaws)
    stuff = sum(image.stuff_left_out for image in images)
    written = write_scenes(
        splits,
        out,
        class_names,
        source=source,
        flaws=[*flaws, *([f"{stuff} regions marked as stuff, which --include-stuff keeps"] if stuff else [])],
        test_fraction=test_fraction if test_source is None else None,
        link_images=link_images,
        force=force,
    )
    return Summary(
        **vars(written),
        names={name: names[name] for name in class_names},
        stuff_left_out=stuff,
        unannotated=sum(annotations.unannotated for annotations in found),
        others=tuple(path for annotations in found for path in annotations.others),
        flaws=flaws,
    )


def _scene(image: RegionImage, ids: Iterator[int]) -> Scene:
    clusters, orders = clusters_and_orders(
        [region.amodal for region in image.regions], [region.depth for region in image.regions]
    )
    annotations = tuple(
        KinsAnnotation(
            id=next(ids),
            image_id=image.image_id,
            class_name=region.class_name,
            amodal=region.amodal,
            inmodal=region.visible,
            cluster_id=cluster,
            occlusion_order=order,
        )
        for region, cluster, order in zip(image.regions, clusters, orders, strict=True)
    )
    return Scene(image.image_id, image.image_path, image.height, image.width, annotations)
