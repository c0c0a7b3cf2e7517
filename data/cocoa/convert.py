"""COCO-Amodal annotations to KINS json and KITTI's folders, which the KINS builder reads.

COCOA has one json file an image: regions from near to far, each with one amodal polygon, a free name, and, where
something hides part of it, the mask of its visible part. Zhu, Tian, Metaxas and Dollar, "Semantic Amodal Segmentation",
CVPR 2017.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from amodal_jax.json_file import shorten
from amodal_jax.json_values import truth_value
from amodal_jax.segmentation import Rle
from data.image_files import checked_size, is_file
from data.json_file import integer, name, read_json_object
from data.kins.orders import clusters_and_orders
from data.kins.problems import CONSEQUENCES, INMODAL_MISSING
from data.kins.scenes import Scene, Written, split_scenes, write_scenes
from data.kins.visible_part import visible_part
from data.kins.writer import KinsAnnotation
from data.outputs import check_output_folder
from data.worker_processes import map_with_progress

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Region:
    """One annotated region."""

    class_name: str  # normalised
    name: str  # as it stands in the file
    depth: int  # 1 is nearest
    amodal: Rle
    visible: Rle


@dataclass(frozen=True)
class RegionFile:
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
    flaws: tuple[str, ...]


def normalised_name(name: str, renames: Mapping[str, str]) -> str:
    """The class of a region's name: lower case, single spaces, none at the ends, then looked up in `renames`."""
    plain = " ".join(name.lower().split())
    return renames.get(plain, plain)


def read_region_file(path: Path, *, include_stuff: bool, renames: Mapping[str, str]) -> RegionFile:
    """Reads the json file of one image, and finds the image beside it under the same name.

    A region without a readable amodal polygon is left out; what a visible mask that cannot be read is taken for says
    `data.kins.visible_part`. Both are named among its flaws.

    Raises:
        DataError: the file is no json, a key is missing, or the image is missing or damaged.
    """
    content = read_json_object(path)
    image_id = integer(content, "image_id", str(path))
    if not isinstance(content.get("regions"), list):
        raise DataError(f"{path}: the key 'regions' is missing or of the wrong type")
    image_path = _image_beside(path)
    height, width = checked_size(image_path)

    regions, flaws, stuff = [], [], 0
    for number, region in enumerate(content["regions"], start=1):
        where = f"{path}: region {number}"
        if not isinstance(region, dict) or not isinstance(region.get("name"), str):
            raise DataError(f"{where}: the key 'name' is missing or of the wrong type")
        order, is_stuff = integer(region, "order", where), truth_value(region.get("isStuff"))
        if is_stuff is None:
            raise DataError(f"{where}: 'isStuff' is neither true nor false, but {shorten(region.get('isStuff'))}")
        if not isinstance(region.get("segmentation"), list | dict):
            raise DataError(f"{where}: the key 'segmentation' is missing or of the wrong type")
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
        written = name(region, "name")
        if written is None:
            raise DataError(f"{where} has no name that can be printed")
        regions.append(Region(normalised_name(written, renames), region["name"], order, amodal, visible))
    return RegionFile(image_id, image_path, height, width, tuple(regions), stuff, tuple(flaws))


def convert(
    source: Path,
    out: Path,
    *,
    test_fraction: float | None,
    include_stuff: bool = False,
    renames: Mapping[str, str] | None = None,
    link_images: bool = False,
    force: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Summary:
    """Converts a folder of COCOA files.

    Everything is read and checked before anything is written.

    Args:
        source: holds `NAME.json` and, for each, `NAME.jpg` or `NAME.png`.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: the share of images for the test split, as `split_scenes` takes it.
        include_stuff: keep the regions that are marked as stuff (grass, sky) too.
        renames: of normalised names, to join spellings.
        link_images: make symbolic links instead of copies.
        force: write into a folder that is there already.
        workers: processes that read files, where there are many.
        progress: show a bar.

    Raises:
        DataError: a file that cannot be used, two files of one image, a split that would be empty, or a folder that is
            there already.
    """
    check_output_folder(out, force=force)
    paths = sorted(source.glob("*.json"))
    if not paths:
        raise DataError(f"{source} is no folder with json files of COCO-Amodal")
    read = functools.partial(read_region_file, include_stuff=include_stuff, renames=renames or {})
    with map_with_progress(read, paths, description="read", workers=workers, progress=progress) as results:
        files = list(results)
    repeated = [identifier for identifier, count in Counter(file.image_id for file in files).items() if count > 1]
    if repeated:
        raise DataError(f"{source}: two json files are of the image_id {repeated[0]}")
    names: dict[str, Counter[str]] = {}
    for region in itertools.chain.from_iterable(file.regions for file in files):
        names.setdefault(region.class_name, Counter())[region.name] += 1
    class_names = sorted(names)
    ids = itertools.count(1)
    splits = split_scenes([_scene(file, ids) for file in files], test_fraction)
    written = write_scenes(splits, out, class_names, source=source, link_images=link_images, force=force)
    return Summary(
        **vars(written),
        names={name: names[name] for name in class_names},
        stuff_left_out=sum(file.stuff_left_out for file in files),
        flaws=tuple(flaw for file in files for flaw in file.flaws),
    )


def _image_beside(path: Path) -> Path:
    for suffix in _IMAGE_SUFFIXES:
        image_path = path.with_suffix(suffix)
        if is_file(image_path):
            return image_path
    raise DataError(f"{path} has no image beside it: {path.stem} with one of {', '.join(_IMAGE_SUFFIXES)} is expected")


def _scene(file: RegionFile, ids: Iterator[int]) -> Scene:
    clusters, orders = clusters_and_orders(
        [region.amodal for region in file.regions], [region.depth for region in file.regions]
    )
    annotations = tuple(
        KinsAnnotation(
            id=next(ids),
            image_id=file.image_id,
            class_name=region.class_name,
            amodal=region.amodal,
            inmodal=region.visible,
            cluster_id=cluster,
            occlusion_order=order,
        )
        for region, cluster, order in zip(file.regions, clusters, orders, strict=True)
    )
    return Scene(file.image_id, file.image_path, file.height, file.width, annotations)
