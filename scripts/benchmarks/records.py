"""A dataset built for a measurement: synthetic scenes, or a folder's own images with invented instances."""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.cli.cores import usable_cores
from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from data.kins import layout
from data.kins.writer import KinsAnnotation, write_annotations
from data.synthetic.generate import Request, generate
from scripts.benchmarks.example import draw_example


def build_records(
    folder: Path, *, train: int, test: int, height: int, width: int, image_folder: Path | None = None
) -> tuple[str, list[Path]]:
    """Builds records of `train` and `test` images in `folder`.

    Args:
      folder: empty; the images and the dataset are left in it.
      train: images of the training split.
      test: images of the test split.
      height: of synthetic scenes, pixels.
      width: of synthetic scenes.
      image_folder: PNG files to take instead, in turn, as often as it takes.

    Returns:
      The dataset's folder, for `data.directory`, and the PNG files.
    """
    import tensorflow_datasets as tfds

    from data.kins.kins_dataset_builder import Builder

    manual = folder / "manual"
    counts = {"train": train, "test": test}
    if image_folder is None:
        generate(
            manual, Request(train, test, 0, width, height, traffic="light"), workers=usable_cores(), progress=False
        )
    else:
        for split in layout.SPLITS:
            _annotate(manual, split, counts[split], image_folder)
    tfds.disable_progress_bar()
    builder = Builder(data_dir=folder / "built")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual))
    return str(builder.data_path), sorted(manual.rglob("*.png"))


def _annotate(manual: Path, split: str, count: int, image_folder: Path) -> None:
    """Copies images and gives each the instances of a drawn example."""
    sources = sorted(image_folder.glob("*.png"))
    if not sources:
        raise DataError(f"{image_folder} holds no PNG file")
    target = manual / layout.IMAGE_FOLDERS[split]
    target.mkdir(parents=True)
    images: list[dict] = []
    annotations: list[KinsAnnotation] = []
    for image_id in range(count):
        content = sources[image_id % len(sources)].read_bytes()
        (target / f"{image_id:06d}.png").write_bytes(content)
        height, width = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[:2]
        name = (layout.IMAGE_FOLDERS[split] / f"{image_id:06d}.png").as_posix()
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        example = draw_example(height, width, len(KINS_CLASS_NAMES), image_id)
        for label, mask in zip(example.labels, example.masks, strict=True):
            rle = segmentation.encode(mask)
            annotations.append(KinsAnnotation(len(annotations) + 1, image_id, KINS_CLASS_NAMES[label], rle, rle, 1, 0))
    write_annotations(manual / layout.ANNOTATION_FILES["2020"][split], images, annotations, KINS_CLASS_NAMES)
