"""Box arithmetic.

Shape shorthand: N, M numbers of boxes; `*b` any leading dimensions.
Boxes are [x1, y1, x2, y2] in absolute pixels, continuous coordinates (width = x2 - x1).
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

# A decoded box grows at most from 16 pixels to 1000: torchvision's BoxCoder bounds the logarithm of the growth so.
MAX_LOG_GROWTH = math.log(1000.0 / 16.0)

# Sides below this many pixels encode as if they were this long, so that a padded slot (a box of zeros) encodes to
# finite numbers: an infinity would survive the masking of a loss as a NaN in its gradient.
_SMALLEST_SIDE = 1e-6


def area(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Areas in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """Intersection over union of every box of `a` with every box of `b`; 0 where both areas are 0."""
    intersection = _pairwise_intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return jnp.where(union > 0, intersection / jnp.where(union > 0, union, 1), 0)


def pairwise_covered(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """The share of every box of `a` that lies in every box of `b`, COCO's IoU with crowds; 0 where `a` has no area."""
    own = area(a)[:, None]
    return jnp.where(own > 0, _pairwise_intersection(a, b) / jnp.where(own > 0, own, 1), 0)


def clip(boxes: Float[Array, "*b 4"], height: Num[ArrayLike, ""], width: Num[ArrayLike, ""]) -> Float[Array, "*b 4"]:
    """Clips boxes to an image of `height` x `width` pixels; both may be traced scalars."""
    limits = jnp.stack([width, height, width, height]).astype(boxes.dtype)
    return jnp.clip(boxes, 0, limits)


def encode(
    reference: Float[Array, "*b 4"], proposals: Float[Array, "*b 4"], weights: tuple[float, float, float, float]
) -> Float[Array, "*b 4"]:
    """The deltas (dx, dy, dw, dh) that lead from `proposals` to `reference` boxes, each times its weight.

    torchvision's `BoxCoder.encode`, but that a side of zero counts as a tiny one, so that the result is always finite.
    """
    proposal_size = jnp.maximum(proposals[..., 2:] - proposals[..., :2], _SMALLEST_SIDE)
    reference_size = jnp.maximum(reference[..., 2:] - reference[..., :2], _SMALLEST_SIDE)
    proposal_centre = proposals[..., :2] + 0.5 * proposal_size
    reference_centre = reference[..., :2] + 0.5 * reference_size
    shift = (reference_centre - proposal_centre) / proposal_size
    growth = jnp.log(reference_size / proposal_size)
    return jnp.concatenate([shift, growth], axis=-1) * jnp.asarray(weights, reference.dtype)


def decode(
    deltas: Float[Array, "*b 4"], boxes: Float[Array, "*#b 4"], weights: tuple[float, float, float, float]
) -> Float[Array, "*b 4"]:
    """Applies deltas (dx, dy, dw, dh), weighted as by `encode`, to `boxes`, broadcast over the leading dimensions.

    torchvision's `BoxCoder.decode`: growth is bounded by `MAX_LOG_GROWTH`. For class-specific deltas [N, K, 4] give
    `boxes[:, None]`.
    """
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    new_centre = deltas[..., :2] * size + centre
    half_size = 0.5 * (jnp.exp(jnp.minimum(deltas[..., 2:], MAX_LOG_GROWTH)) * size)
    return jnp.concatenate([new_centre - half_size, new_centre + half_size], axis=-1)


def xywh_to_xyxy(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """COCO's [x, y, width, height] to [x1, y1, x2, y2]."""
    return jnp.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """[x1, y1, x2, y2] to COCO's [x, y, width, height]."""
    return jnp.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def _pairwise_intersection(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    # Side by side: with both sides on an axis of their own, XLA stores the matrix of their products on a GPU.
    width, height = (
        jnp.maximum(
            jnp.minimum(a[:, None, end], b[None, :, end]) - jnp.maximum(a[:, None, start], b[None, :, start]), 0
        )
        for start, end in ((0, 2), (1, 3))
    )
    return width * height
