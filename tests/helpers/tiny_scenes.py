"""A dozen small images of rectangles before rectangles, written as KINS json and built into records."""

from pathlib import Path

import cv2
import numpy as np

from amodal_jax.classes import KINS_CLASS_NAMES
from data.kins import layout
from data.kins.writer import KinsAnnotation, write_annotations

TRAIN_IMAGE_COUNT = 11  # no multiple of any batch size
TEST_IMAGE_COUNT = 5


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list[list[float]]:
    """A polygon."""
    return [[float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]]


def write_tiny_scenes(folder: Path) -> None:
    """Images of 48..64 x 64..96 pixels; in each, a near rectangle hides a part of a far one."""
    rng = np.random.default_rng(0)
    for split, first_id, count in (("train", 0, TRAIN_IMAGE_COUNT), ("test", 100, TEST_IMAGE_COUNT)):
        images_folder = folder / layout.IMAGE_FOLDERS[split]
        images_folder.mkdir(parents=True)
        images, annotations = [], []
        for image_id in range(first_id, first_id + count):
            height, width = int(rng.integers(48, 65)), int(rng.integers(64, 97))
            x, y = int(rng.integers(2, 20)), int(rng.integers(2, 10))
            pixels = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
            pixels[y : y + 30, x : x + 24] = 160
            pixels[y + 6 : y + 30, x + 16 : x + 40] = 240
            file_name = f"{image_id:06d}.png"
            cv2.imwrite(str(images_folder / file_name), pixels)
            images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
            far = rectangle(x, y, x + 24, y + 30)
            visible = [[float(v) for v in (x, y, x + 24, y, x + 24, y + 6, x + 16, y + 6, x + 16, y + 30, x, y + 30)]]
            near = rectangle(x + 16, y + 6, x + 40, y + 30)
            for index, (amodal, inmodal) in enumerate(((near, near), (far, visible))):
                annotations.append(
                    KinsAnnotation(
                        id=2 * image_id + index,
                        image_id=image_id,
                        class_name=KINS_CLASS_NAMES[(image_id + index) % len(KINS_CLASS_NAMES)],
                        amodal=amodal,
                        inmodal=inmodal,
                        cluster_id=0,
                        occlusion_order=index + 1,
                    )
                )
        write_annotations(folder / layout.ANNOTATION_FILES["2020"][split], images, annotations, KINS_CLASS_NAMES)


def build_tiny_dataset(folder: Path) -> Path:
    """Writes the scenes and builds them; returns the dataset's folder."""
    write_tiny_scenes(folder / "scenes")
    return build_dataset(folder / "scenes", folder / "datasets")


def build_dataset(scenes: Path, datasets: Path) -> Path:
    """Builds scenes on disk into records; returns the dataset's folder."""
    import tensorflow_datasets as tfds

    from data.kins.kins_dataset_builder import Builder

    tfds.disable_progress_bar()
    builder = Builder(data_dir=datasets)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=scenes))
    return Path(builder.data_path)
