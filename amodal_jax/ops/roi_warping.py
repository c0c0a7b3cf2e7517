"""RoI warping (Dai et al., 2016): features of a box, resampled to a grid, that know where the box is.

Semantics of daijifeng001/caffe-mnc, `roi_warping_layer.cu`. What it lets through is a gradient for the box too, which
neither RoI pooling nor our ROIAlign has.

Shape shorthand: H, W feature size; C channels; N RoIs; S output size.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amodal_jax.ops.roi_align import Taps, sample_grid

OUTSIDE = 0.5  # features beyond the first and the last one from which on a sample is 0


def roi_warping(
    features: Float[Array, "H W C"],
    boxes: Float[Array, "N 4"],
    output_size: int,
    *,
    spatial_scale: float,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Float[Array, "N {output_size} {output_size} C"]:
    """One bilinear sample of each of output_size x output_size bins of every box, at the bin's first corner.

    Corners of boxes are rounded to whole features, halves up; a box is as wide as its corners are apart, so that one of
    no extent repeats a single feature. A sample up to half a feature outside of the map is that of its border; one
    farther outside is 0.

    The gradient reaches the features and the boxes: that of a corner is as if it had not been rounded, and 0 where the
    sample is outside of the map.

    Args:
      features: one image's feature map. Samples are summed in float32 whatever its type.
      boxes: xyxy in image pixels. A box that is not finite has 0.
      output_size: S.
      spatial_scale: features a pixel, 1 / stride.
      offset: (y, x) in bins, how far behind their first corners bins are sampled.
    """
    corners = boxes.astype(jnp.float32) * spatial_scale
    corners += jax.lax.stop_gradient(jnp.floor(corners + 0.5) - corners)
    height, width, _ = features.shape
    taps_y = _taps(corners[:, 1], corners[:, 3], offset[0], output_size, height)
    taps_x = _taps(corners[:, 0], corners[:, 2], offset[1], output_size, width)
    return sample_grid((features,), jnp.zeros(boxes.shape[0], jnp.int32), taps_y, taps_x)


def max_warping(
    features: Float[Array, "H W C"], boxes: Float[Array, "N 4"], output_size: int, *, spatial_scale: float
) -> Float[Array, "N {output_size} {output_size} C"]:
    """RoI warping to a grid of twice the size, and the greatest value of each of its 2 x 2 blocks.

    The arguments are those of `roi_warping`. Taken one after the other, the four samples of a block are never stored
    together where no gradient is asked for.
    """
    offsets = ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5))
    samples = (roi_warping(features, boxes, output_size, spatial_scale=spatial_scale, offset=one) for one in offsets)
    return functools.reduce(jnp.maximum, samples)


def _taps(start: Float[Array, " N"], end: Float[Array, " N"], offset: float, output_size: int, length: int) -> Taps:
    """Of each bin's only sample, along one axis of `length` features, the two around it and their weights."""
    step = jnp.maximum(end - start, 0) / output_size
    position = start[:, None] + (jnp.arange(output_size) + offset) * step[:, None]
    inside = (position >= -OUTSIDE) & (position <= length - 1 + OUTSIDE)
    # By choice and not by clipping, whose gradient at the limit itself, where rounded corners often are, is a half.
    position = jnp.where(inside & (position >= 0), jnp.where(position <= length - 1, position, length - 1), 0)
    low = jnp.floor(position).astype(jnp.int32)
    share = position - low
    weights = ((1 - share) * inside, share * inside)
    return low[..., None], jnp.minimum(low + 1, length - 1)[..., None], weights[0][..., None], weights[1][..., None]
