"""Pure functions of arrays: static shapes, no parameters, one operation per file."""

from amodal_jax.ops import anchors, boxes, convolution, masks, matching, nms, resize, roi_align, sampling

__all__ = ["anchors", "boxes", "convolution", "masks", "matching", "nms", "resize", "roi_align", "sampling"]
