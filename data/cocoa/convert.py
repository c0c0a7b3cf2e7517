"""COCO-Amodal annotations to KINS json and KITTI's folders, which the KINS builder reads.

COCOA has one json file an image: regions from near to far, each with one amodal polygon, a free name, and, where
something hides part of it, the mask of its visible part. Zhu, Tian, Metaxas and Dollar, "Semantic Amodal Segmentation",
CVPR 2017.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amodal_jax import segmentation
from amodal_jax.atomic_file import replacing
from amodal_jax.errors import DataError
from amodal_jax.segmentation import Rle
from data.image_files import checked_size
from data.json_file import read_json_object
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS, SPLITS
from data.kins.orders import clusters_and_orders
from data.kins.writer import KinsAnnotation, write_annotations

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
class Scene:
    """One image with its regions."""

    image_id: int
    image_path: Path
    height: int
    width: int
    regions: tuple[Region, ...]
    stuff_left_out: int
    flaws: tuple[str, ...]  # what was wrong, with the file and the region


@dataclass(frozen=True)
class Summary:
    """What a conversion wrote."""

    images: dict[str, int]  # per split
    instances: dict[str, int]  # per split
    names: dict[str, Counter[str]]  # class name -> the files' names for it, each with its number of regions
    stuff_left_out: int
    flaws: tuple[str, ...]


def normalised_name(name: str, renames: Mapping[str, str]) -> str:
    """The class of a region's name: lower case, single spaces, none at the ends, then looked up in `renames`."""
    plain = " ".join(name.lower().split())
    return renames.get(plain, plain)


def read_scene(path: Path, *, include_stuff: bool, renames: Mapping[str, str]) -> Scene:
    """Reads the json file of one image, and finds the image beside it under the same name.

    A region without a readable amodal polygon is left out, one whose visible mask cannot be read is taken as not
    occluded; both are named among the scene's flaws.

    Raises:
        DataError: the file is no json, a key is missing, or the image is missing or damaged.
    """
    content = read_json_object(path)
    for key, kind in (("image_id", int), ("regions", list)):
        if not isinstance(content.get(key), kind):
            raise DataError(f"{path}: the key '{key}' is missing or of the wrong type")
    image_path = _image_beside(path)
    height, width = checked_size(image_path)

    regions, flaws, stuff = [], [], 0
    for number, region in enumerate(content["regions"], start=1):
        where = f"{path}: region {number}"
        for key, allowed in (("name", (str,)), ("order", (int,)), ("isStuff", (int,)), ("segmentation", (list, dict))):
            if not isinstance(region, dict) or not isinstance(region.get(key), allowed):
                raise DataError(f"{where}: the key '{key}' is missing or of the wrong type")
        if region["isStuff"] and not include_stuff:
            stuff += 1
            continue
        amodal, found = segmentation.parse(region["segmentation"], height, width)
        flaws += [f"{where}: amodal {flaw}" for flaw in found]
        if amodal is None or not segmentation.area(amodal):
            flaws.append(f"{where}: nothing of its amodal mask can be drawn; the region is left out")
            continue
        visible = amodal
        if region.get("visible_mask") is not None:
            read, found = segmentation.parse(region["visible_mask"], height, width)
            flaws += [f"{where}: visible {flaw}" for flaw in found]
            if read is None:
                flaws.append(f"{where}: its visible mask cannot be read; it is taken as not occluded")
            else:
                visible = read
        name = normalised_name(region["name"], renames)
        if not name:
            raise DataError(f"{where} has an empty name")
        regions.append(Region(name, region["name"], region["order"], amodal, visible))
    return Scene(content["image_id"], image_path, height, width, tuple(regions), stuff, tuple(flaws))


def convert(
    source: Path,
    out: Path,
    *,
    test_fraction: float | None,
    include_stuff: bool = False,
    renames: Mapping[str, str] | None = None,
    link_images: bool = False,
) -> Summary:
    """Converts a folder of COCOA files.

    Everything is read and checked before anything is written, and the annotation files are written last.

    Args:
        source: holds `NAME.json` and, for each, `NAME.jpg` or `NAME.png`.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: the share of images that go to the test split, chosen by a hash of their ids; the others are for
            training. None puts every image into both splits.
        include_stuff: keep the regions that are marked as stuff (grass, sky) too.
        renames: of normalised names, to join spellings.
        link_images: make symbolic links instead of copies.

    Raises:
        DataError: a file that cannot be used, two files of one image, or a split that would be empty.
    """
    paths = sorted(source.glob("*.json"))
    if not paths:
        raise DataError(f"{source} holds no json files of COCO-Amodal")
    scenes = [read_scene(path, include_stuff=include_stuff, renames=renames or {}) for path in paths]
    repeated = [identifier for identifier, count in Counter(scene.image_id for scene in scenes).items() if count > 1]
    if repeated:
        raise DataError(f"{source}: two json files are of the image_id {repeated[0]}")
    splits = _split(scenes, test_fraction)
    names: dict[str, Counter[str]] = {}
    for scene in scenes:
        for region in scene.regions:
            names.setdefault(region.class_name, Counter())[region.name] += 1
    class_names = sorted(names)
    annotations = {split: _annotations(members) for split, members in splits.items()}
    for split in SPLITS:
        if not annotations[split]:
            raise DataError(
                f"{source}: the {split} split would have {len(splits[split])} images and no instance; "
                "choose another test fraction, or the same images for both splits"
            )
    for split, members in splits.items():
        folder = out / IMAGE_FOLDERS[split]
        folder.mkdir(parents=True, exist_ok=True)
        for scene in members:
            _place_image(scene.image_path, folder / scene.image_path.name, link_images)
    for split, members in splits.items():
        images = [
            {"id": scene.image_id, "file_name": scene.image_path.name, "width": scene.width, "height": scene.height}
            for scene in members
        ]
        write_annotations(out / ANNOTATION_FILES["2020"][split], images, annotations[split], class_names)
    return Summary(
        images={split: len(members) for split, members in splits.items()},
        instances={split: len(entries) for split, entries in annotations.items()},
        names={name: names[name] for name in class_names},
        stuff_left_out=sum(scene.stuff_left_out for scene in scenes),
        flaws=tuple(flaw for scene in scenes for flaw in scene.flaws),
    )


def _image_beside(path: Path) -> Path:
    for suffix in _IMAGE_SUFFIXES:
        image_path = path.with_suffix(suffix)
        if image_path.is_file():
            return image_path
    raise DataError(f"{path} has no image beside it: {path.stem} with one of {', '.join(_IMAGE_SUFFIXES)} is expected")


def _split(scenes: Sequence[Scene], test_fraction: float | None) -> dict[str, list[Scene]]:
    if test_fraction is None:
        return {split: list(scenes) for split in SPLITS}
    hashed = sorted(scenes, key=lambda scene: hashlib.sha256(str(scene.image_id).encode()).digest())
    test_count = round(len(scenes) * test_fraction)
    test_ids = {scene.image_id for scene in hashed[:test_count]}
    return {
        "train": [scene for scene in scenes if scene.image_id not in test_ids],
        "test": [scene for scene in scenes if scene.image_id in test_ids],
    }


def _annotations(scenes: Sequence[Scene]) -> list[KinsAnnotation]:
    annotations: list[KinsAnnotation] = []
    for scene in scenes:
        clusters, orders = clusters_and_orders(
            [region.amodal for region in scene.regions], [region.depth for region in scene.regions]
        )
        for region, cluster, order in zip(scene.regions, clusters, orders, strict=True):
            annotations.append(
                KinsAnnotation(
                    id=len(annotations) + 1,
                    image_id=scene.image_id,
                    class_name=region.class_name,
                    amodal=region.amodal,
                    inmodal=region.visible,
                    cluster_id=cluster,
                    occlusion_order=order,
                )
            )
    return annotations


def _place_image(source: Path, destination: Path, link: bool) -> None:
    with replacing(destination) as new:
        if link:
            new.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, new)
