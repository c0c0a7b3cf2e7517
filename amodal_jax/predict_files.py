"""Prediction on image files: an overlay and a json of the objects beside each other for every image."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from pycocotools import mask as coco_mask
from tqdm import tqdm

from amodal_jax.cli.progress import progress_bar
from amodal_jax.errors import ConfigError, DataError, ImageError
from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.files.image_reader import read_image
from amodal_jax.files.visible_files import visible_files
from amodal_jax.masks.instance_map import KITTI_CLASS_IDS, LARGEST_ID, draw_instance_map, encode_instance_map
from amodal_jax.predict import Predictor
from amodal_jax.structures import Instances
from amodal_jax.visualization.overlay import draw_instances

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm", ".jp2", ".gif", ".avif"}
)
"""Files in a folder that are taken for images, by their names' endings in any case."""

_MAPS = "instance"  # as KITTI calls the folder


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


def map_class_ids(predictor: Predictor, *, own: bool = False) -> tuple[int, ...]:
    """The class id of each of the network's labels in KITTI's instance maps.

    Args:
      predictor: the network.
      own: number the network's classes from 1 instead of taking KITTI's label ids.

    Raises:
      ConfigError: KITTI has no id for a class, there are more classes than a map can hold, or the network predicts no
        visible parts, which maps are made of.
    """
    names = predictor.config.model.class_names
    if "inmodal" not in predictor.mask_kinds:
        raise ConfigError("the network predicts no inmodal masks, of which instance maps are made")
    if own:
        if len(names) > LARGEST_ID:
            raise ConfigError(f"the network has {len(names)} classes, and an instance map holds {LARGEST_ID}")
        return tuple(range(1, len(names) + 1))
    for name in names:
        if name not in KITTI_CLASS_IDS:
            raise ConfigError(f"KITTI has no label id for {name!r}; --class-ids own numbers the network's classes")
    return tuple(KITTI_CLASS_IDS[name] for name in names)


def predict_files(
    predictor: Predictor,
    images: list[Path],
    out: Path,
    *,
    score_threshold: float = 0.5,
    class_ids: Sequence[int] | None = None,
) -> int:
    """Predicts each image file and writes `NAME.png`, an overlay, and `NAME.json` for it (see `to_json`).

    An image that cannot be read is reported on stderr and skipped. Progress goes to stderr, too. No file is ever there
    in part.

    Args:
      predictor: the network.
      images: files; NAME is the name without its last suffix.
      out: the folder to write, made if need be.
      score_threshold: objects that score lower are left out of the overlay and the map; the json has all.
      class_ids: what `map_class_ids` gives, to write KITTI's instance map of the visible parts as `instance/NAME.png`,
        too. Where two of them overlap the one that scores higher is seen.

    Returns:
      The number of images that could not be read, or have more objects of a class than a map can hold.

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
    if class_ids is not None:
        make_folder(out / _MAPS)
    failures = 0
    for path in progress_bar(images, description="predict", unit="image"):
        try:
            image, instances = _predict(predictor, path)
            drawn = None if class_ids is None else _instance_map(instances, class_ids, score_threshold, path)
        except DataError as error:
            failures += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        overlay = draw_instances(image, instances, score_threshold=score_threshold)
        _, png = cv2.imencode(".png", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
        write_atomically(out / f"{path.stem}.png", png.tobytes())
        if drawn is not None:
            write_atomically(out / _MAPS / f"{path.stem}.png", encode_instance_map(drawn))
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


def _instance_map(
    instances: Instances, class_ids: Sequence[int], score_threshold: float, path: Path
) -> UInt16[np.ndarray, "H W"]:
    """The map of what scores enough; a DataError names the file."""
    assert instances.inmodal_masks is not None
    chosen = np.flatnonzero(instances.scores >= score_threshold)  # best first
    height, width = instances.inmodal_masks.shape[1:]
    return draw_instance_map(
        list(instances.inmodal_masks[chosen]),
        [class_ids[label] for label in instances.labels[chosen].tolist()],
        range(len(chosen))[::-1],
        (height, width),
        str(path),
    )


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
