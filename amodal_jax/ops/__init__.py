"""Pure functions of arrays, without parameters, one operation per module."""

from amodal_jax.ops import anchors, boxes, convolution, masks, matching, nms, resize, roi_align, sampling

__all__ = ["anchors", "boxes", "convolution", "masks", "matching", "nms", "resize", "roi_align", "sampling"]
