"""Prediction on image files: an overlay and a json of the objects beside each other for every image."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as coco_mask
from tqdm import tqdm

from amodal_jax.atomic_file import make_folder, write_atomically
from amodal_jax.errors import DataError, ImageError
from amodal_jax.image_reader import read_image
from amodal_jax.predict import Predictor
from amodal_jax.progress import progress_bar
from amodal_jax.structures import Instances
from amodal_jax.visible_files import visible_files
from amodal_jax.visualize import draw_instances

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm", ".jp2", ".gif", ".avif"}
)
"""Files in a folder that are taken for images, by their names' endings in any case."""


def find_images(inputs: Iterable[Path]) -> list[Path]:
    """The image files that are meant: files as they are, and of folders those in them with an image's suffix, sorted.

    Raises:
      DataError: nothing has the name, or a folder has no image in it.
    """
    found = []
    for path in inputs:
        if path.is_dir():
            images = visible_files(path, IMAGE_SUFFIXES)
            if not images:
                raise DataError(f"{path}: the folder has no images in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
            found += images
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def predict_files(predictor: Predictor, images: list[Path], out: Path, *, score_threshold: float = 0.5) -> int:
    """Predicts each image file and writes `NAME.png`, an overlay, and `NAME.json` for it (see `to_json`).

    An image that cannot be read is reported on stderr and skipped. Progress goes to stderr, too. No file is ever there
    in part.

    Args:
      predictor: the network.
      images: files; NAME is the name without its last suffix.
      out: the folder to write, made if need be.
      score_threshold: objects that score lower are left out of the overlay; the json has all.

    Returns:
      The number of images that could not be read.

    Raises:
      DataError: two images have one name, or `out` is the folder of an image, where an overlay could replace another
        image. Nothing is written then.
    """
    by_name: dict[str, Path] = {}
    for path in images:
        other = by_name.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                f"{other} and {path} would both be written to {out / path.stem}.png: "
                "predict them in separate calls, each with a folder of its own"
            )
        if out.resolve() == path.resolve().parent:
            raise DataError(f"the overlay of {path} would lie among the images in {out}: write to another folder")
    make_folder(out)
    failures = 0
    for path in progress_bar(images, description="predict", unit="image"):
        try:
            image, instances = _predict(predictor, path)
        except ImageError as error:
            failures += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        overlay = draw_instances(image, instances, score_threshold=score_threshold)
        _, png = cv2.imencode(".png", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
        write_atomically(out / f"{path.stem}.png", png.tobytes())
        content = to_json(instances, path.name, (image.shape[0], image.shape[1]))
        write_atomically(out / f"{path.stem}.json", json.dumps(content) + "\n")
    return failures


def _predict(predictor: Predictor, path: Path) -> tuple[UInt8[np.ndarray, "H W 3"], Instances]:
    """The image of a file and the objects in it; an ImageError names the file."""
    image = read_image(path)
    try:
        return image, predictor(image)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def to_json(instances: Instances, file_name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """The objects of an image for a json file, best first.

    Args:
      instances: the objects.
      file_name: the image's.
      image_size: (height, width).

    Returns:
      `file_name`, `height`, `width` and `instances`, each with `category_name`, `bbox` (amodal, xywh in pixels),
      `score`, and of the branches that the network has `occluded` (probability), `amodal_segmentation` and
      `inmodal_segmentation` (COCO's compressed run lengths). Category ids belong to a dataset's annotation file, which
      a prediction knows nothing of.
    """
    objects = []
    for index, (label, (x1, y1, x2, y2)) in enumerate(zip(instances.labels, instances.boxes.tolist(), strict=True)):
        one = {
            "category_name": instances.class_names[label],
            "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": float(instances.scores[index]),
        }
        if instances.occluded is not None:
            one["occluded"] = float(instances.occluded[index])
        if instances.amodal_masks is not None:
            one["amodal_segmentation"] = _encode(instances.amodal_masks[index])
        if instances.inmodal_masks is not None:
            one["inmodal_segmentation"] = _encode(instances.inmodal_masks[index])
        objects.append(one)
    return {"file_name": file_name, "height": image_size[0], "width": image_size[1], "instances": objects}


def _encode(mask: Bool[np.ndarray, "H W"]) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode("ascii")}
