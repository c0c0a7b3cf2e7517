"""What of an object is seen, by all that a file says of it: here a missing inmodal mask gets its meaning.

Annotators draw a visible part only where something hides the rest, so that none drawn can mean that all of the object
is seen. It does not where the file gives the hidden part instead, or the area of the visible one: an object that is
hidden wholly has nothing that could be drawn, or a polygon without an area, and 0 as that area.
"""

from typing import Any

from amodal_jax import segmentation
from amodal_jax.json_values import is_number
from amodal_jax.segmentation import Rle
from data.kins import problems as kinds

# By how much the area of a whole object may differ from that of its visible part: a share of it, and square pixels.
_SHARE, _PIXELS = 0.05, 1.0


def visible_part(
    amodal: Rle,
    visible: Any,
    *,
    hidden: Any = None,
    occlusion_rate: Any = None,
    visible_area: Any = None,
    amodal_area: Any = None,
) -> tuple[Rle, list[str]]:
    """The visible part of an object, and what is wrong with it, as kinds of problem.

    Args:
        amodal: the object's mask, with a pixel at least.
        visible: its visible part as it stands in the file: polygons or a run-length code, or nothing.
        hidden: its hidden part, where a file has one.
        occlusion_rate: hidden area / whole area as it stands in the file.
        visible_area: the visible part's area as it stands in the file.
        amodal_area: the object's area as it stands in the file, of the same measure; without one its pixels count.

    Returns:
        The mask that is drawn; else the object without its hidden part; else all or nothing of it, as the areas say.
    """
    height, width = amodal["size"]
    drawn, flaws = segmentation.parse(visible, height, width) if visible else (None, ())
    problems = [f"inmodal mask: {flaw}" for flaw in flaws]
    if drawn is None and hidden:
        outside = segmentation.parse(hidden, height, width).rle
        drawn = segmentation.difference(amodal, outside) if outside else None
    if drawn is not None:
        return drawn, problems if segmentation.area(drawn) else [*problems, kinds.INMODAL_EMPTY]

    nothing = segmentation.empty(height, width)
    if is_number(occlusion_rate) and 0 <= occlusion_rate <= 1:
        visible_area, amodal_area = (1 - occlusion_rate) * segmentation.area(amodal), None
    whole = amodal_area if is_number(amodal_area) and amodal_area > 0 else segmentation.area(amodal)
    if not is_number(visible_area) or visible_area < 0 or 0 < visible_area >= whole * (1 - _SHARE) - _PIXELS:
        return amodal, [*problems, kinds.INMODAL_UNREADABLE if visible else kinds.INMODAL_MISSING]
    if visible_area >= _PIXELS:
        return nothing, [*problems, kinds.INMODAL_UNKNOWN]
    # A polygon of two points is how a file says that nothing is seen.
    said_so = set(flaws) <= {segmentation.POLYGON_TOO_SHORT}
    return nothing, [kinds.INMODAL_EMPTY] if said_so else [*problems, kinds.INMODAL_EMPTY]
