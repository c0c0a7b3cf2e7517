"""Annotated images of any source, written as a folder that scripts/build_dataset.py reads."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amodal_jax.atomic_file import replacing, write_atomically
from amodal_jax.errors import DataError
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS, SPLITS
from data.kins.writer import KinsAnnotation, write_annotations
from data.outputs import output_folder


@dataclass(frozen=True)
class Scene:
    """One image with its annotations."""

    image_id: int
    image_path: Path  # where the image is, for messages and to be copied
    height: int
    width: int
    annotations: tuple[KinsAnnotation, ...]
    name: str | None = None  # its path below the split's folder; None: its own name
    content: Callable[[], bytes] | None = None  # gives the file's bytes in the dataset; None: those of `image_path`

    @property
    def file_name(self) -> str:
        """The image's path below the split's folder."""
        return self.image_path.name if self.name is None else self.name


@dataclass(frozen=True)
class Written:
    """How much a conversion wrote."""

    images: dict[str, int]  # per split
    instances: dict[str, int]  # per split


def split_scenes(scenes: Sequence[Scene], test_fraction: float | None) -> dict[str, list[Scene]]:
    """Shares scenes out among the splits.

    Args:
        scenes: all of them.
        test_fraction: the share of images that go to the test split, chosen by a hash of their names, so that other
            annotations of the same images are split alike. None puts every image into both splits.
    """
    if test_fraction is None:
        return {split: list(scenes) for split in SPLITS}
    hashed = sorted(scenes, key=lambda scene: hashlib.sha256(scene.file_name.encode()).digest())
    test_names = {scene.file_name for scene in hashed[: round(len(scenes) * test_fraction)]}
    return {
        "train": [scene for scene in scenes if scene.file_name not in test_names],
        "test": [scene for scene in scenes if scene.file_name in test_names],
    }


def write_scenes(
    splits: Mapping[str, Sequence[Scene]],
    out: Path,
    class_names: Sequence[str] | Mapping[str, int],
    *,
    source: Path,
    flaws: Sequence[str] = (),
    test_fraction: float | None = None,
    link_images: bool = False,
    force: bool = False,
    info: Mapping[str, Any] | None = None,
) -> Written:
    """Writes images, copied or linked, and the annotation file of each split, whole or not at all.

    Args:
        splits: the scenes of each split; ids of images and annotations are unique within it.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        class_names: every class, as `write_annotations` takes them.
        source: where the scenes come from, for messages.
        flaws: what was wrong with annotations or left out, which is why a split may be without an instance.
        test_fraction: as `split_scenes` was given it, which a split may be without an instance for.
        link_images: make symbolic links instead of copies, but of images that are not as they lie in the dataset.
        force: write into a folder that is there already; its other files stay.
        info: what the annotation files say of themselves, as `write_annotations` takes it.

    Raises:
        DataError: a split without an instance, two images of one id or name, or a folder that is there already.
    """
    for split, scenes in splits.items():
        _check_unique(scenes, split)
    _check_instances(splits, source, flaws, test_fraction)
    with output_folder(out, force=force) as folder:
        for split, scenes in splits.items():
            for scene in scenes:
                place = folder / IMAGE_FOLDERS[split] / scene.file_name
                place.parent.mkdir(parents=True, exist_ok=True)
                _place_image(scene, place, link_images)
        for split, scenes in splits.items():
            images = [
                {"id": scene.image_id, "file_name": scene.file_name, "width": scene.width, "height": scene.height}
                for scene in scenes
            ]
            annotations = [annotation for scene in scenes for annotation in scene.annotations]
            write_annotations(folder / ANNOTATION_FILES["2020"][split], images, annotations, class_names, info=info)
    return Written(
        images={split: len(scenes) for split, scenes in splits.items()},
        instances={split: sum(len(scene.annotations) for scene in scenes) for split, scenes in splits.items()},
    )


def _check_unique(scenes: Sequence[Scene], split: str) -> None:
    by_name: dict[str, Scene] = {}
    by_id: dict[int, Scene] = {}
    for scene in scenes:
        for other, what in (
            (by_name.setdefault(scene.file_name, scene), f"be {scene.file_name}"),
            (by_id.setdefault(scene.image_id, scene), f"have the id {scene.image_id}"),
        ):
            if other is not scene:
                raise DataError(f"{other.image_path} and {scene.image_path} would both {what} in the {split} split")


def _check_instances(
    splits: Mapping[str, Sequence[Scene]], source: Path, flaws: Sequence[str], test_fraction: float | None
) -> None:
    """Raises a DataError where a split has no instance; says why, and what to do if anything but mending helps."""
    empty = [split for split, scenes in splits.items() if not any(scene.annotations for scene in scenes)]
    if not empty:
        return
    text = f"{source}: the {empty[0]} split would have {len(splits[empty[0]])} images and no instance"
    if test_fraction is not None and len(empty) < len(splits):
        text += "; choose another test fraction, or the same images for both splits"
    if flaws:
        text += f". What is left out or wrong ({len(flaws)}):\n" + ";\n".join(flaws)
    raise DataError(text)


def _place_image(scene: Scene, destination: Path, link: bool) -> None:
    if scene.content is not None:
        write_atomically(destination, scene.content())
        return
    if destination.exists() and destination.samefile(scene.image_path):
        return  # images that lie in their place already
    with replacing(destination) as new:
        if link:
            new.symlink_to(scene.image_path.resolve())
        else:
            shutil.copyfile(scene.image_path, new)
