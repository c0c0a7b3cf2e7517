"""Writes synthetic scenes to disk as KINS 2020 json and KITTI's folders of PNG images.

OUT/update_train_2020.json   OUT/training/image_2/000000.png ...
OUT/update_test_2020.json    OUT/testing/image_2/000000.png ...
OUT/request.json             what was asked for, so that the same request finds its answer there
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
from tqdm import tqdm

from amodal_jax import segmentation
from amodal_jax.atomic_file import replacing, write_atomically
from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.segmentation import Rle
from data.kins import layout
from data.kins.orders import clusters_and_orders
from data.kins.writer import KinsAnnotation, write_annotations
from data.synthetic.scene import make_scene
from data.worker_processes import ordered_map

REVISION = 2
"""Raised whenever the same seed gives other scenes than before, so that nobody reuses the old ones."""
LEAST_WIDTH, LEAST_HEIGHT = 64, 24
PNG_COMPRESSION = 1
REQUEST_FILE = "request.json"


@dataclass(frozen=True)
class Request:
    """Everything that the images and annotations depend on."""

    train: int
    """number of images"""
    test: int
    """number of images"""
    seed: int
    width: int
    """pixels"""
    height: int
    """pixels"""
    classes: tuple[str, ...] = KINS_CLASS_NAMES
    """of the objects, some of KINS'"""
    revision: int = REVISION

    def validate(self) -> None:
        """Raises DataError, naming the field, for what cannot be drawn."""
        least = {"train": 1, "test": 1, "seed": 0, "width": LEAST_WIDTH, "height": LEAST_HEIGHT}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise DataError(f"synthetic scenes: {name} is {getattr(self, name)}, the least possible is {low}")
        unknown = [name for name in self.classes if name not in KINS_CLASS_NAMES]
        if unknown or not self.classes or len(set(self.classes)) < len(self.classes):
            raise DataError(
                f"synthetic scenes: classes are {', '.join(self.classes) or 'none'}; name each at most once, of "
                f"{', '.join(KINS_CLASS_NAMES)}"
            )

    def to_json(self) -> str:
        """What stands in the request's file."""
        return json.dumps(asdict(self)) + "\n"


class _Drawn(NamedTuple):
    """One instance of a scene, encoded."""

    class_name: str
    amodal: Rle
    inmodal: Rle
    cluster_id: int
    occlusion_order: int


def generate(
    out: str | os.PathLike[str], request: Request, *, workers: int = 1, overwrite: bool = False, progress: bool = True
) -> bool:
    """Writes the data set, whole or not at all; its bytes depend on the request only, not on the workers.

    Args:
        out: folder to make. One that already holds this very request is left as it is.
        request: what to draw.
        workers: processes that draw.
        overwrite: replace what an earlier call wrote there for another request.
        progress: show a bar with rate and time left.

    Returns:
        True where the scenes were drawn, False where they were there already.

    Raises:
        DataError: the request is impossible, or `out` holds something else.
    """
    request.validate()
    out = Path(out)
    if _found(out, request, overwrite):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as folder:
        folder.mkdir()
        for split in layout.SPLITS:
            _write_split(folder, split, request, workers, progress)
        write_atomically(folder / REQUEST_FILE, request.to_json())
    return True


def _found(out: Path, request: Request, overwrite: bool) -> bool:
    """Whether the request's scenes are there; DataError where something is that may not be replaced."""
    if not out.exists():
        return False
    if out.is_dir() and not any(out.iterdir()):
        return False
    try:
        there = json.loads((out / REQUEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{out} exists and holds no synthetic scenes: name another folder, or remove it") from None
    if there == json.loads(request.to_json()):
        return True
    if not overwrite:
        raise DataError(f"{out} holds other synthetic scenes ({there}): name another folder, or ask to overwrite it")
    return False


def _write_split(folder: Path, split: str, request: Request, workers: int, progress: bool) -> None:
    count = {"train": request.train, "test": request.test}[split]
    (folder / layout.IMAGE_FOLDERS[split]).mkdir(parents=True)
    draw = functools.partial(_write_image, folder, split, request)
    images: list[dict] = []
    annotations: list[KinsAnnotation] = []
    with ordered_map(workers, chunk_size=4) as map_in_order:
        scenes = tqdm(
            map_in_order(draw, range(count)),
            total=count,
            desc=f"draw {split}",
            unit="image",
            disable=not progress,
            mininterval=1.0,
        )
        for image_id, drawn in enumerate(scenes):
            size = {"width": request.width, "height": request.height}
            images.append({"id": image_id, "file_name": _file_name(split, image_id).as_posix(), **size})
            for instance in drawn:
                annotations.append(KinsAnnotation(len(annotations) + 1, image_id, *instance))
    write_annotations(folder / layout.ANNOTATION_FILES["2020"][split], images, annotations, request.classes)


def _file_name(split: str, index: int) -> Path:
    return layout.IMAGE_FOLDERS[split] / f"{index:06d}.png"


def _write_image(folder: Path, split: str, request: Request, index: int) -> list[_Drawn]:
    # The split's number is part of the seed: no test scene can be a training scene.
    seed = (request.seed, layout.SPLITS.index(split), index)
    scene = make_scene(seed, request.width, request.height, request.classes)
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), options)
    # OpenCV's own writer keeps silent about a full disk.
    write_atomically(folder / _file_name(split, index), encoded.tobytes())
    amodal = [segmentation.encode(instance.amodal_mask) for instance in scene.instances]
    inmodal = [segmentation.encode(instance.visible_mask) for instance in scene.instances]
    # The scene's own order, not the distance of the middles, says which of two instances hides the other.
    clusters, orders = clusters_and_orders(amodal, range(len(amodal)))
    names = [instance.class_name for instance in scene.instances]
    return [_Drawn(*values) for values in zip(names, amodal, inmodal, clusters, orders, strict=True)]
