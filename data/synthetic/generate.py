"""Writes synthetic scenes to disk as KINS 2020 json and KITTI's folders of PNG images.

OUT/update_train_2020.json   OUT/training/image_2/000000.png ...
OUT/update_test_2020.json    OUT/testing/image_2/000000.png ...
OUT/request.json             what was asked for, so that the same request finds its answer there

Until all of it is there it lies beside OUT in the folder .OUT.unfinished, where the same request goes on after whatever
stopped it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2

from amodal_jax import segmentation
from amodal_jax.atomic_file import make_folder, naming, replacing, write_atomically
from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.file_lock import try_lock
from amodal_jax.segmentation import Rle
from amodal_jax.text_file import read_text
from data.kins import layout
from data.kins.orders import clusters_and_orders
from data.kins.writer import KinsAnnotation, write_annotations
from data.synthetic.photographs import Photographs
from data.synthetic.scene import TRAFFIC, make_scene
from data.worker_processes import map_with_progress

REVISION = 2
"""Raised whenever the same seed gives other scenes than before, so that nobody reuses the old ones."""
LEAST_WIDTH, LEAST_HEIGHT = 64, 24
PNG_COMPRESSION = 1
REQUEST_FILE = "request.json"

# A scene takes a third of a second, and processes take seconds to start.
_IMAGES_WORTH_PROCESSES = 16


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
    traffic: str = "kins"
    """how they are distributed, a key of `TRAFFIC`"""
    photographs: str | None = None
    """SHA-256 of those that are drawn on; None where the street is drawn too"""
    revision: int = REVISION

    def validate(self) -> None:
        """Raises DataError, naming the field, for what cannot be drawn."""
        least = {"train": 1, "test": 1, "seed": 0, "width": LEAST_WIDTH, "height": LEAST_HEIGHT}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise DataError(f"synthetic scenes: {name} is {getattr(self, name)}, the least possible is {low}")
        if self.traffic not in TRAFFIC:
            raise DataError(f"synthetic scenes: traffic is {self.traffic!r}; name one of {', '.join(TRAFFIC)}")
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
    out: str | os.PathLike[str],
    request: Request,
    *,
    photographs: Photographs | None = None,
    workers: int = 1,
    force: bool = False,
    progress: bool = True,
) -> bool:
    """Writes the data set, whole or not at all; its bytes depend on the request only, not on the workers.

    What was drawn when a call was stopped is kept in `.OUT.unfinished`; a call with the same request draws the rest.

    Args:
        out: folder to make. One that already holds this very request is left as it is.
        request: what to draw.
        photographs: those whose `sha256` the request names.
        workers: processes that draw.
        force: replace what an earlier call wrote there for another request.
        progress: show a bar with rate and time left.

    Returns:
        True where the scenes were drawn, False where they were there already.

    Raises:
        DataError: the request is impossible, `out` holds something else, or another process is drawing it.
    """
    request.validate()
    if request.photographs != (photographs.sha256 if photographs else None):
        raise DataError("synthetic scenes: the request names other photographs than those that are given")
    out = Path(out)
    if _found(out, request, force):
        return False
    make_folder(out.parent)
    unfinished = out.parent / f".{out.name}.unfinished"
    with _held(unfinished, request):
        folder = unfinished / "scenes"
        for split in layout.SPLITS:
            _write_split(unfinished, split, request, photographs, workers, progress)
        write_atomically(folder / REQUEST_FILE, request.to_json())
        with replacing(out) as new:
            os.rename(folder, new)
        shutil.rmtree(unfinished)
    return True


@contextlib.contextmanager
def _held(unfinished: Path, request: Request) -> Iterator[None]:
    """Prepares the folder of what has been drawn of this request, for this process alone."""
    note = unfinished / REQUEST_FILE
    if unfinished.exists() and any(unfinished.iterdir()) and not note.is_file():
        raise DataError(f"{unfinished} is there and holds no unfinished scenes: remove it, or name another folder")
    make_folder(unfinished)
    # Unbuffered: of a full disk it is the write that fails, not once more the closing.
    with note.open("ab+", buffering=0) as file:
        if not try_lock(file):
            raise DataError(f"{unfinished}: another process is drawing there; wait for it, or stop it")
        file.seek(0)
        if file.read() != request.to_json().encode():
            for kept in (unfinished / "scenes", unfinished / "instances"):
                shutil.rmtree(kept, ignore_errors=True)
            with naming(note):
                file.truncate(0)
                file.write(request.to_json().encode())
        # What a process that was killed had in hand.
        for leftover in unfinished.rglob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _found(out: Path, request: Request, force: bool) -> bool:
    """Whether the request's scenes are there; DataError where something is that may not be replaced."""
    if not out.exists():
        return False
    if out.is_dir() and not any(out.iterdir()):
        return False
    try:
        there = json.loads(read_text(out / REQUEST_FILE))
    except (DataError, ValueError):
        raise DataError(f"{out} exists and holds no synthetic scenes: name another folder, or remove it") from None
    if there == json.loads(request.to_json()):
        return True
    if not force:
        raise DataError(
            f"{out} holds other synthetic scenes ({there}): name another folder, or give --force to replace them"
        )
    return False


def _write_split(
    unfinished: Path, split: str, request: Request, photographs: Photographs | None, workers: int, progress: bool
) -> None:
    count = {"train": request.train, "test": request.test}[split]
    (unfinished / "scenes" / layout.IMAGE_FOLDERS[split]).mkdir(parents=True, exist_ok=True)
    (unfinished / "instances" / split).mkdir(parents=True, exist_ok=True)
    draw = functools.partial(_write_image, unfinished, split, request, photographs)
    images: list[dict] = []
    annotations: list[KinsAnnotation] = []
    with map_with_progress(
        draw,
        range(count),
        description=f"draw {split}",
        workers=workers,
        progress=progress,
        worth_processes=_IMAGES_WORTH_PROCESSES,
        chunk_size=4,
    ) as scenes:
        for image_id, drawn in enumerate(scenes):
            size = {"width": request.width, "height": request.height}
            images.append({"id": image_id, "file_name": _file_name(image_id), **size})
            for instance in drawn:
                annotations.append(KinsAnnotation(len(annotations) + 1, image_id, *instance))
    if not annotations:
        raise DataError(f"synthetic scenes: the {split} split, of {count} images, has no instance; ask for more images")
    path = unfinished / "scenes" / layout.ANNOTATION_FILES["2020"][split]
    write_annotations(path, images, annotations, request.classes)


def _file_name(index: int) -> str:
    return f"{index:06d}.png"


def _write_image(
    unfinished: Path, split: str, request: Request, photographs: Photographs | None, index: int
) -> list[_Drawn]:
    # Written last: where it is, the image is too.
    note = unfinished / "instances" / split / f"{index:06d}.json"
    if note.is_file():
        return [_Drawn(*values) for values in json.loads(note.read_bytes())]
    # The split's number is part of the seed: no test scene can be a training scene.
    seed = (request.seed, layout.SPLITS.index(split), index)
    scene = make_scene(seed, request.width, request.height, request.classes, request.traffic, photographs)
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), options)
    # OpenCV's own writer keeps silent about a full disk.
    write_atomically(unfinished / "scenes" / layout.IMAGE_FOLDERS[split] / _file_name(index), encoded.tobytes())
    amodal = [segmentation.encode(instance.amodal_mask) for instance in scene.instances]
    inmodal = [segmentation.encode(instance.visible_mask) for instance in scene.instances]
    # The scene's own order, not the distance of the middles, says which of two instances hides the other.
    clusters, orders = clusters_and_orders(amodal, range(len(amodal)))
    names = [instance.class_name for instance in scene.instances]
    drawn = [_Drawn(*values) for values in zip(names, amodal, inmodal, clusters, orders, strict=True)]
    write_atomically(note, json.dumps(drawn))
    return drawn
