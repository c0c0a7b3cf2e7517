"""One image of the page that `browse` writes: a small JPEG, and its masks as SVG paths.

Paths have whole pixels of the image, from corner to corner of its pixels, and moves that are relative to the point
before, which makes them short.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from amodal_jax.errors import ImageError
from amodal_jax.masks import segmentation
from amodal_jax.masks.segmentation import Rle
from amodal_jax.visualization.colours import PALETTE, distinct_colours
from data.kins.annotations import KEYS, ImageRecord
from data.kins.instances import read_instance
from data.shared.image_files import checked_size

_JPEG_QUALITY = 78
_SIMPLIFICATION = 0.8  # pixels of the image by which a path may miss the mask's outline


class DrawnInstance(NamedTuple):
    """One object, as the page's script takes it."""

    id: int
    class_index: int
    occlusion: int  # hidden share in percent; at least 1 where anything is hidden
    order: int  # -1 where the file has none
    colour: int  # of the palette
    amodal: str  # SVG path of the whole object
    visible: str  # "" where it is the same
    hidden: str  # "" where nothing is hidden


@dataclass(frozen=True)
class DrawnImage:
    """One image, as the page's script takes it."""

    file_name: str
    height: int  # pixels that paths refer to
    width: int
    has_picture: bool
    instances: tuple[DrawnInstance, ...]


@dataclass(frozen=True)
class ImageDrawer:
    """Draws the images of one annotation file."""

    release: str
    class_indices: dict[int, int]  # of the page's list of classes, by category id
    image_folder: Path | None
    thumbnail_folder: Path
    longest_side: int  # of a thumbnail, pixels

    def __call__(self, numbered: tuple[int, ImageRecord]) -> DrawnImage:
        """Writes the thumbnail of an image, under its number, where the image can be read."""
        number, image = numbered
        height, width = image.height, image.width
        has_picture = False
        if self.image_folder is not None:
            try:
                height, width = checked_size(self.image_folder / image.file_name)
                has_picture = self._write_thumbnail(self.image_folder / image.file_name, number)
            except ImageError:
                height, width = image.height, image.width
        keys = KEYS[self.release]
        instances = [
            instance
            for annotation in image.annotations
            if (instance := read_instance(annotation, keys, height, width)[0]) is not None
        ]
        # The largest first, so that the outlines of small ones stay on top.
        instances.sort(key=lambda instance: -segmentation.area(instance.amodal))
        boxes = np.array([instance.amodal_box for instance in instances]).reshape(-1, 4)
        drawn = []
        for instance, colour in zip(instances, distinct_colours(boxes).tolist(), strict=True):
            hidden = segmentation.difference(instance.amodal, instance.inmodal)
            whole = not segmentation.area(hidden)
            drawn.append(
                DrawnInstance(
                    id=instance.id,
                    class_index=self.class_indices[instance.category_id],
                    occlusion=0 if whole else max(1, round(100 * instance.occlusion_ratio)),
                    order=-1 if instance.occlusion_order is None else instance.occlusion_order,
                    colour=colour % len(PALETTE),
                    amodal=svg_path(instance.amodal),
                    visible="" if whole else svg_path(instance.inmodal),
                    hidden="" if whole else svg_path(hidden),
                )
            )
        return DrawnImage(image.file_name, height, width, has_picture, tuple(drawn))

    def _write_thumbnail(self, path: Path, number: int) -> bool:
        picture = cv2.imdecode(
            np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if picture is None:
            return False
        scale = min(1.0, self.longest_side / max(picture.shape[:2]))
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (self.thumbnail_folder / thumbnail_name(number)).write_bytes(jpeg.tobytes())
        return True


def thumbnail_name(number: int) -> str:
    """The file of the image that has a number, in the folder of thumbnails."""
    return f"{number:06d}.jpg"


def svg_path(mask: Rle) -> str:
    """The outlines of a mask, holes included, to be filled by the even-odd rule; "" for an empty one."""
    if not segmentation.area(mask):
        return ""
    x1, y1, x2, y2 = map(int, segmentation.bounding_box(mask))
    pixels = segmentation.decode_columns(mask, x1, x2)[y1:y2].astype(np.uint8)
    # Drawn twice as large, border pixels' centres lie a quarter of a pixel within the mask's edge.
    contours, _ = cv2.findContours(
        np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 2 * _SIMPLIFICATION, True)[:, 0]
        corners = np.rint((points + 0.5) / 2).astype(int) + [x1, y1]
        moves = np.diff(corners, axis=0)
        steps = " ".join(f"{x} {y}" for x, y in moves[(moves != 0).any(axis=1)].tolist())
        if steps:
            parts.append(f"M{corners[0][0]} {corners[0][1]}l{steps}z")
    return "".join(parts) or f"M{x1} {y1}h{x2 - x1}v{y2 - y1}h{x1 - x2}z"
