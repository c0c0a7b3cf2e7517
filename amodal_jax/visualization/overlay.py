"""Drawing of instances over their image: amodal outline, visible part filled, hidden part hatched, and a label.

Shape shorthand: n instances, H x W pixels of the image, K candidate places of a label. Boxes are [x1, y1, x2, y2] in
pixels of the image; everything named `canvas` is in pixels of the drawing, `scale` times as large.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Num, UInt8

from amodal_jax.errors import ImageError
from amodal_jax.structures import Instances
from amodal_jax.visualization.colours import PALETTE, distinct_colours

_DARK = (16, 18, 24)
_FILL = 0.38  # opacity of the visible part
_FONT = cv2.FONT_HERSHEY_DUPLEX
_TEXT_HEIGHTS = (0.034, 0.029, 0.024, 0.02)  # of the drawing's shorter side, tried in turn until the labels fit
_SMALLEST_TEXT = 9  # pixels


def draw_instances(
    image: UInt8[np.ndarray, "H W 3"],
    instances: Instances,
    *,
    score_threshold: float = 0.5,
    occluded_threshold: float = 0.5,
    scale: int = 1,
) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Draws what was found in an image.

    Each object gets a colour that differs from its neighbours'. Its amodal outline is a line, its visible (inmodal)
    part is filled, its hidden part (amodal without inmodal) is hatched, and its label gives class, score and whether
    it is occluded. Without amodal masks the outline is that of the visible part; without any mask it is the box.
    Labels lie clear of each other, and of the objects, where the picture has room; a line leads to the object from one
    that had to move away.

    Args:
      image: uint8 RGB [H, W, 3].
      instances: boxes in pixels of `image`, masks of its height and width.
      score_threshold: objects that score lower are left out.
      occluded_threshold: an object is called occluded when its probability of it is above this.
      scale: the drawing is this many times as large as the image, with lines and text at the finer resolution.

    Returns:
      uint8 RGB [H * scale, W * scale, 3]; `image` is left as it is.

    Raises:
      ImageError: the image is empty, or the masks are of another size than the image.
    """
    height, width = image.shape[:2]
    if height == 0 or width == 0:
        raise ImageError(f"cannot draw on an image of {width} x {height} pixels")
    for masks in (instances.amodal_masks, instances.inmodal_masks):
        if masks is not None and masks.shape[1:] != (height, width):
            raise ImageError(
                f"masks of {masks.shape[2]} x {masks.shape[1]} pixels on an image of {width} x {height}: "
                "instances must be in the image's own pixels"
            )
    canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else image.copy()
    chosen = np.flatnonzero(instances.scores >= score_threshold)
    if len(chosen) == 0:
        return canvas
    boxes = np.asarray(instances.boxes, np.float32)[chosen]
    amodal = None if instances.amodal_masks is None else instances.amodal_masks[chosen]
    inmodal = None if instances.inmodal_masks is None else instances.inmodal_masks[chosen]
    colours = PALETTE[distinct_colours(boxes)]
    thickness = max(1, round(min(canvas.shape[:2]) / 450))

    # Large objects first, so that the lines of small ones stay on top.
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-areas, kind="stable")
    if inmodal is not None:
        for i in order:
            _blend(canvas, inmodal[i], colours[i], scale, _FILL)
    if amodal is not None and inmodal is not None:
        for i in order:
            _hatch(canvas, amodal[i] & ~inmodal[i], colours[i], scale, thickness, rising=bool(i % 2))
    outlined = amodal if amodal is not None else inmodal
    for i in order:
        lines = _box_lines(boxes[i], scale) if outlined is None else _contours(outlined[i], scale)
        _stroke(canvas, lines, colours[i], thickness)

    texts = []
    for i in chosen:
        occluded = instances.occluded is not None and instances.occluded[i] > occluded_threshold
        name = instances.class_names[instances.labels[i]]
        texts.append((f"{name} {instances.scores[i]:.2f}", " occluded" if occluded else ""))
    _draw_labels(canvas, texts, boxes * scale, colours, thickness)
    return canvas


def _enlarged(mask: Bool[np.ndarray, "H W"], scale: int) -> tuple[np.ndarray, int, int] | None:
    """A mask's coverage of the drawing's pixels in [0, 1], cropped, with the crop's left and top; None where empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 2, mask.shape[0])
    left, right = max(columns[0] - 1, 0), min(columns[-1] + 2, mask.shape[1])
    crop: np.ndarray = mask[top:bottom, left:right].astype(np.float32)
    if scale > 1:
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        crop = np.clip((crop - 0.5) * scale + 0.5, 0, 1)  # an edge one pixel of the drawing wide
    return crop, int(left) * scale, int(top) * scale


def _mix(canvas: np.ndarray, left: int, top: int, opacity: np.ndarray, colour: np.ndarray) -> None:
    """Paints `colour` over the part of the canvas that `opacity` [h, w] covers, in place."""
    region = canvas[top : top + opacity.shape[0], left : left + opacity.shape[1]]
    mixed = region + opacity[..., None] * (np.asarray(colour, np.float32) - region)
    region[:] = np.rint(mixed)


def _blend(canvas: np.ndarray, mask: Bool[np.ndarray, "H W"], colour: np.ndarray, scale: int, opacity: float) -> None:
    part = _enlarged(mask, scale)
    if part is not None:
        coverage, left, top = part
        _mix(canvas, left, top, coverage * opacity, colour)


def _hatch(
    canvas: np.ndarray, mask: Bool[np.ndarray, "H W"], colour: np.ndarray, scale: int, thickness: int, *, rising: bool
) -> None:
    """Diagonal lines of `colour` between dark ones; rising and falling ones stay apart where hidden parts overlap."""
    part = _enlarged(mask, scale)
    if part is None:
        return
    coverage, left, top = part
    y, x = np.mgrid[top : top + coverage.shape[0], left : left + coverage.shape[1]]
    period = 5.0 * thickness + 1
    across = (x + y if rising else x - y) / np.sqrt(2)
    distance = np.abs((across + period / 2) % period - period / 2)  # from the middle of the nearest line
    _mix(canvas, left, top, coverage * 0.3, np.array(_DARK))
    _mix(canvas, left, top, coverage * np.clip(0.65 * thickness + 0.5 - distance, 0, 1), colour)


def _contours(mask: Bool[np.ndarray, "H W"], scale: int) -> list[np.ndarray]:
    part = _enlarged(mask, scale)
    if part is None:
        return []
    coverage, left, top = part
    filled = (coverage > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    return list(contours)


def _box_lines(box: Num[np.ndarray, "4"], scale: int) -> list[np.ndarray]:
    x1, y1, x2, y2 = np.rint(box * scale).astype(np.int32)
    return [np.array([[[x1, y1]], [[x2 - 1, y1]], [[x2 - 1, y2 - 1]], [[x1, y2 - 1]]], np.int32)]


def _stroke(
    canvas: np.ndarray, lines: list[np.ndarray], colour: np.ndarray, thickness: int, closed: bool = True
) -> None:
    """A coloured line in a dark casing, which keeps it visible on a ground of any colour."""
    cv2.polylines(canvas, lines, closed, _DARK, thickness + 2 * max(1, thickness // 2), cv2.LINE_AA)
    cv2.polylines(canvas, lines, closed, colour.tolist(), thickness, cv2.LINE_AA)


def _text_size(text: str, font_scale: float) -> tuple[int, int, int]:
    """Width, height over the baseline and depth under it of a line of text, in pixels."""
    (width, height), baseline = cv2.getTextSize(text, _FONT, font_scale, 1)
    return width, height, baseline


def _draw_labels(
    canvas: np.ndarray,
    texts: list[tuple[str, str]],
    boxes: Num[np.ndarray, "n 4"],
    colours: UInt8[np.ndarray, "n 3"],
    thickness: int,
) -> None:
    """Places and draws the labels, in smaller text where they would not fit in the standard one."""
    short = min(canvas.shape[:2])
    _, reference, _ = _text_size("Ag", 1.0)
    for share in _TEXT_HEIGHTS:
        text_height = max(_SMALLEST_TEXT, share * short)
        font_scale = text_height / reference
        pad = max(2, round(text_height * 0.28))
        bar = max(2, round(text_height * 0.3))
        sizes = np.array([_text_size(first + second, font_scale)[0] + bar + 3 * pad for first, second in texts])
        line = round(text_height) + 2 * pad
        places, crowded = place_labels(boxes, sizes, line, canvas.shape[:2])
        if not crowded or text_height <= _SMALLEST_TEXT:
            break
    for (left, top), size, box, colour in zip(places, sizes, boxes, colours, strict=True):
        label = np.array([left, top, left + size, top + line])
        centre = np.clip((box[0] + box[2]) / 2, 0, canvas.shape[1] - 1)
        end = np.array([centre, np.clip(top + line / 2, box[1], box[3])])
        start = np.clip(end, label[:2] + np.array([thickness, 0]), label[2:])
        if np.maximum(np.maximum(label[:2] - box[2:], box[:2] - label[2:]), 0).max() > 0.4 * line:
            leader = np.rint(np.stack([start, end])[:, None]).astype(np.int32)
            _stroke(canvas, [leader], colour, max(1, thickness // 2), closed=False)
            cv2.circle(canvas, leader[1, 0].tolist(), thickness + 1, colour.tolist(), cv2.FILLED, cv2.LINE_AA)
    for (left, top), size, (first, second), colour in zip(places, sizes, texts, colours, strict=True):
        plate = np.full((line, size), 0.78, np.float32)[: canvas.shape[0] - top, : canvas.shape[1] - left]
        _mix(canvas, left, top, plate, np.array(_DARK))
        canvas[top : top + line, left : left + bar] = colour
        baseline = top + line - pad - round(text_height * 0.1)
        x = left + bar + pad
        cv2.putText(canvas, first, (x, baseline), _FONT, font_scale, (255, 255, 255), 1, cv2.LINE_AA)
        if second:
            x += _text_size(first, font_scale)[0]
            cv2.putText(canvas, second, (x, baseline), _FONT, font_scale, colour.tolist(), 1, cv2.LINE_AA)


def place_labels(
    boxes: Num[np.ndarray, "n 4"],
    widths: Num[np.ndarray, " n"],
    line: int,
    size: tuple[int, int],
) -> tuple[list[tuple[int, int]], bool]:
    """Finds a place for each object's label: near its box, off the other labels, and off the objects if there is room.

    Args:
      boxes: the objects, in the canvas' pixels.
      widths: of the labels, in pixels; a label wider than the canvas starts at its left edge.
      line: height of every label.
      size: (height, width) of the canvas.

    Returns:
      The left and top of each label, and whether any two labels overlap.
    """
    height, width = size
    places: list[tuple[int, int]] = [(0, 0)] * len(boxes)
    taken = np.zeros((0, 4))
    crowded = False
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    # Small objects have the fewest places that are near, and choose first.
    for i in np.argsort(areas, kind="stable"):
        x1, y1, x2, y2 = boxes[i]
        w = widths[i]
        lefts = np.concatenate([[x1, (x1 + x2 - w) / 2, x2 - w], (x1 + x2 - w) / 2 + np.arange(-8, 9) * w / 4])
        tops = np.concatenate([[y1 - line - 1, y1 + 1, y2 + 1], y1 - line - np.arange(1, 16) * line * 0.75])
        left, top = (grid.ravel() for grid in np.meshgrid(lefts, tops))
        left = np.rint(np.clip(left, 0, max(width - w, 0)))
        top = np.rint(np.clip(top, 0, max(height - line, 0)))
        candidates = np.stack([left, top, left + w, top + line], 1)  # [K, 4]
        on_labels = _overlap(candidates, taken).sum(1)
        cover = _overlap(candidates, boxes)
        # A label inside a box hides some of it, of a small one all.
        on_objects = (cover / np.sqrt(np.maximum(areas, 1))[None]).sum(1)
        away = np.abs(left + w / 2 - np.clip(left + w / 2, x1, x2)) + np.maximum(
            np.maximum(y1 - (top + line), top - y2), 0
        )
        cost = 1e3 * on_labels + 1.5 * on_objects + away
        best = np.argmin(cost)
        crowded |= bool(on_labels[best] > 0)
        places[i] = (int(left[best]), int(top[best]))
        taken = np.concatenate([taken, candidates[best : best + 1]])
    return places, crowded


def _overlap(first: Num[np.ndarray, "K 4"], second: Num[np.ndarray, "n 4"]) -> Num[np.ndarray, "K n"]:
    """Areas of the intersections, in square pixels."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.prod(np.maximum(high - low, 0), -1)
