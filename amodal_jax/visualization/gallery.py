"""Pictures with their ground truth beside their prediction as html: vector layers over an inlined JPEG.

Shape shorthand: H x W pixels of an image, n objects. Boxes are [x1, y1, x2, y2] in pixels of the image, which is the
coordinate system of the SVGs too (a pixel's corners are whole numbers).
"""

import base64
import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from markupsafe import Markup
from pycocotools import mask as coco_mask

from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from amodal_jax.visualization.colours import distinct_colours
from amodal_jax.visualization.pages import render

_OVERSAMPLING = 4  # contour points to a pixel
_TOLERANCE = 0.6  # pixels of the image that a contour may be off by, to be short
_SMALLEST_HIDDEN = 3.0  # square pixels: under this, two masks merely disagree at their rim
_JPEG_QUALITIES = (88, 80, 70, 55)
_MATCH_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class GalleryObject:
    """One object, annotated or detected."""

    class_name: str
    box: tuple[float, float, float, float]  # xyxy in pixels of the image; amodal
    score: float | None  # None in the ground truth
    remark: str  # the end of the label: whether it is occluded, or how much of it is hidden
    details: str  # shown when pointed at
    amodal_rle: dict | None  # COCO run lengths {"size": [H, W], "counts": ...}; None where there is no such mask
    inmodal_rle: dict | None


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image of the gallery."""

    name: str
    image: UInt8[np.ndarray, "H W 3"]  # BGR, as OpenCV encodes it
    truth: list[GalleryObject]
    predicted: list[GalleryObject] | None  # best first; None where there are no predictions at all


def gallery_card(number: int, picture: Picture, *, largest_image: int) -> Markup:
    """A picture's html: its ground truth and, where there is one, its prediction.

    A predicted object has the colour of the annotated one that it matches (box IoU at least 0.5, best scores first,
    whatever the classes), so that what belongs together is seen at a glance; what matches nothing has a colour that is
    not used near it.

    Args:
      number: of the picture, for the names of its elements.
      picture: what is shown.
      largest_image: bytes that the JPEG should stay under; its quality is lowered for that.

    Raises:
      DataError: a mask cannot be read, or is of another size than the image.
    """
    height, width = picture.image.shape[:2]
    truth_keys, predicted_keys, colours = _match(picture.truth, picture.predicted or [])
    return render(
        "card.html",
        number=number,
        name=picture.name,
        width=width,
        height=height,
        jpeg=base64.b64encode(_jpeg(picture.image, largest_image)).decode("ascii"),
        colours=sorted(set(colours.values())),
        truth=_drawn(picture.truth, truth_keys, colours, (height, width)),
        predicted=None
        if picture.predicted is None
        else _drawn(picture.predicted, predicted_keys, colours, (height, width)),
    )


def mask_path(mask: Bool[np.ndarray, "H W"], smallest: float = 0.0) -> str:
    """The outline of a mask as an SVG path, smooth to within a pixel, to be filled by the even-odd rule.

    Args:
      mask: of any number of parts, with holes.
      smallest: parts of less than this many square pixels are left out.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return ""
    # Between pixels linearly, so that slanting edges become straight lines and not stairs.
    crop = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32), 1)
    fine = cv2.resize(crop, None, fx=_OVERSAMPLING, fy=_OVERSAMPLING, interpolation=cv2.INTER_LINEAR)
    fine = (fine > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in contours:
        if smallest and cv2.contourArea(contour) < smallest * _OVERSAMPLING**2:
            continue
        points = cv2.approxPolyDP(contour, _TOLERANCE * _OVERSAMPLING, True)[:, 0]
        points = (points + 0.5) / _OVERSAMPLING + [columns[0] - 1, rows[0] - 1]
        parts.append("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def _match(truth: list[GalleryObject], predicted: list[GalleryObject]) -> tuple[list[str], list[str], dict[str, int]]:
    """Keys of the annotated and the predicted objects, equal where they match, and the colour of each key."""
    truth_boxes = np.array([shown.box for shown in truth], np.float32).reshape(-1, 4)
    boxes = np.array([shown.box for shown in predicted], np.float32).reshape(-1, 4)
    truth_keys = [f"t{index}" for index in range(len(truth))]
    sides = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], 1).astype(np.float64) for b in (boxes, truth_boxes)]
    overlaps = np.reshape(coco_mask.iou(*sides, [0] * len(truth)), (len(predicted), len(truth)))
    predicted_keys = []
    for index in range(len(predicted)):
        best = int(overlaps[index].argmax()) if truth else -1
        if best >= 0 and overlaps[index, best] >= _MATCH_IOU:
            predicted_keys.append(truth_keys[best])
            overlaps[:, best] = 0
        else:
            predicted_keys.append(f"p{index}")
    own = [index for index, key in enumerate(predicted_keys) if key.startswith("p")]
    keys = truth_keys + [predicted_keys[index] for index in own]
    chosen = distinct_colours(np.concatenate([truth_boxes, boxes[own]]))
    return truth_keys, predicted_keys, dict(zip(keys, map(int, chosen), strict=True))


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """An object with its outlines as SVG paths."""

    shown: GalleryObject
    index: int
    """Its place among the objects of its side."""
    key: str
    """The same for the annotated and the predicted object that match."""
    colour: int
    corners: tuple[str, str, str, str]
    box: str
    outline: str
    visible: str | None
    """None where nothing is known of the visible part."""
    hidden: str


def _drawn(
    objects: list[GalleryObject], keys: list[str], colours: dict[str, int], image_size: tuple[int, int]
) -> list[_Drawn]:
    """The objects of one of a picture's sides, large ones first, so that small ones stay on top, to be pointed at."""
    found = []
    for index in sorted(range(len(objects)), key=lambda index: -_area(objects[index])):
        shown, key = objects[index], keys[index]
        amodal, inmodal = (_decode(rle, shown, image_size) for rle in (shown.amodal_rle, shown.inmodal_rle))
        hidden = None if amodal is None or inmodal is None else amodal & ~inmodal
        x1, y1, x2, y2 = (f"{value:.1f}" for value in shown.box)
        box = f"M{x1},{y1} {x2},{y1} {x2},{y2} {x1},{y2}Z"
        outlined = amodal if amodal is not None else inmodal
        found.append(
            _Drawn(
                shown=shown,
                index=index,
                key=key,
                colour=colours[key],
                corners=(x1, y1, x2, y2),
                box=box,
                outline=box if outlined is None else mask_path(outlined),
                visible=None if inmodal is None else mask_path(inmodal),
                hidden="" if hidden is None else mask_path(hidden, _SMALLEST_HIDDEN),
            )
        )
    return found


def _area(shown: GalleryObject) -> float:
    x1, y1, x2, y2 = shown.box
    return (x2 - x1) * (y2 - y1)


def _decode(rle: dict | None, shown: GalleryObject, image_size: tuple[int, int]) -> Bool[np.ndarray, "H W"] | None:
    if rle is None:
        return None
    mask, flaws = segmentation.parse(rle, *image_size)
    if mask is None:
        raise DataError(f"the mask of {shown.details} cannot be read: {', '.join(flaws)}; evaluate the run again")
    return segmentation.decode(mask)


def _jpeg(image: np.ndarray, largest: int) -> bytes:
    """The image as a JPEG of the best of a few qualities at which it is small enough, halved in size if none is."""
    while True:
        for quality in _JPEG_QUALITIES:
            encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(encoded) <= largest:
                return encoded
        if min(image.shape[:2]) < 64:
            return encoded
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
