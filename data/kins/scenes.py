"""Annotated images of any source, written as a folder that scripts/build_dataset.py reads."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from amodal_jax.atomic_file import replacing
from amodal_jax.errors import DataError
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS, SPLITS
from data.kins.writer import KinsAnnotation, write_annotations
from data.outputs import output_folder


@dataclass(frozen=True)
class Scene:
    """One image with its annotations."""

    image_id: int
    image_path: Path
    height: int
    width: int
    annotations: tuple[KinsAnnotation, ...]
    folder: str = ""  # of the image, below the split's folder

    @property
    def file_name(self) -> str:
        """The image's path below the split's folder."""
        return (PurePosixPath(self.folder) / self.image_path.name).as_posix()


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
        link_images: make symbolic links instead of copies.
        force: write into a folder that is there already; its other files stay.
        info: what the annotation files say of themselves, as `write_annotations` takes it.

    Raises:
        DataError: a split without an instance, two images of one id or name, or a folder that is there already.
    """
    for split, scenes in splits.items():
        if not any(scene.annotations for scene in scenes):
            raise DataError(
                f"{source}: the {split} split would have {len(scenes)} images and no instance; "
                "choose another test fraction, or the same images for both splits"
            )
        for what, values in (
            ("id", [scene.image_id for scene in scenes]),
            ("name", [scene.file_name for scene in scenes]),
        ):
            (value, count), *_ = Counter(values).most_common(1)
            if count > 1:
                two = [str(scene.image_path) for scene, one in zip(scenes, values, strict=True) if one == value][:2]
                raise DataError(
                    f"{source}: {count} images of the {split} split have the {what} {value}: {' and '.join(two)}"
                )
    with output_folder(out, force=force) as folder:
        for split, scenes in splits.items():
            for scene in scenes:
                place = folder / IMAGE_FOLDERS[split] / scene.file_name
                place.parent.mkdir(parents=True, exist_ok=True)
                _place_image(scene.image_path, place, link_images)
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


def _place_image(source: Path, destination: Path, link: bool) -> None:
    if destination.exists() and destination.samefile(source):
        return  # images that lie in their place already
    with replacing(destination) as new:
        if link:
            new.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, new)
