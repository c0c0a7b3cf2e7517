"""RoI warping (Dai et al., 2016): features of a box, resampled to a grid, that know where the box is.

Semantics of daijifeng001/caffe-mnc, `roi_warping_layer.cu`. What it lets through is a gradient for the box too, which
neither RoI pooling nor our ROIAlign has.

Shape shorthand: H, W feature size; C channels; N RoIs; S output size.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

OUTSIDE = 0.5  # features beyond the first and the last one from which on a sample is 0

Taps = tuple[Int[Array, "N S"], Int[Array, "N S"], Float[Array, "N S"], Float[Array, "N S"]]
"""Along one axis: the two features that each sample lies between, the lower one first, and their weights."""


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
    return _sample(features, taps_y, taps_x)


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
    """Of each bin's sample, along one axis of `length` features."""
    step = jnp.maximum(end - start, 0) / output_size
    position = start[:, None] + (jnp.arange(output_size) + offset) * step[:, None]
    inside = (position >= -OUTSIDE) & (position <= length - 1 + OUTSIDE)
    # By choice and not by clipping, whose gradient at the limit itself, where rounded corners often are, is a half.
    position = jnp.where(inside & (position >= 0), jnp.where(position <= length - 1, position, length - 1), 0)
    low = jnp.floor(position).astype(jnp.int32)
    share = position - low
    return low, jnp.minimum(low + 1, length - 1), (1 - share) * inside, share * inside


@jax.custom_vjp
def _sample(features, taps_y, taps_x):
    """The samples [N, S, S, C]; gradients reach the features and the weights of the taps."""
    # Written out as a sum of gathers, XLA makes of it one loop over the output that stores nothing in between.
    return sum(_corners(features, _pairs(taps_y), _pairs(taps_x))).astype(features.dtype)


def _sample_forward(features, taps_y, taps_x):
    return _sample(features, taps_y, taps_x), (features, taps_y, taps_x)


def _sample_backward(residuals, gradient):
    features, taps_y, taps_x = residuals
    return (
        _feature_gradient(features.shape[:2], taps_y, taps_x, gradient).astype(features.dtype),
        _weight_gradients(features, taps_y, taps_x, gradient),
        _weight_gradients(features.swapaxes(0, 1), taps_x, taps_y, gradient.swapaxes(1, 2)),
    )


_sample.defvjp(_sample_forward, _sample_backward)


def _corners(features, pairs_y, pairs_x):
    """What each of the features around them adds to the samples, in float32; pairs are of features and weights."""
    table, width = features.reshape(-1, features.shape[-1]), features.shape[1]
    for y, y_weight in pairs_y:
        for x, x_weight in pairs_x:
            weight = y_weight[:, :, None] * x_weight[:, None, :]
            yield table[y[:, :, None] * width + x[:, None, :]].astype(jnp.float32) * weight[..., None]


def _feature_gradient(size, taps_y, taps_x, gradient):
    """The gradient [H, W, C] by matrix products: XLA would scatter it row by row on a CPU, in any order on a GPU."""
    rows, columns = (
        (low[..., None] == cells) * low_weight[..., None] + (high[..., None] == cells) * high_weight[..., None]
        for (low, high, low_weight, high_weight), cells in zip((taps_y, taps_x), map(jnp.arange, size), strict=True)
    )
    by_rows = jnp.einsum("nsh,nstc->nthc", rows.astype(gradient.dtype), gradient)
    # In one product over all RoIs: their sum needs no room of its own.
    return jnp.einsum("ntw,nthc->hwc", columns.astype(gradient.dtype), by_rows, preferred_element_type=jnp.float32)


def _weight_gradients(features, taps, across, gradient):
    """The gradients of the weights of `taps`, along the features' first axis, given the taps `across`, its second."""

    def of_weight(place):
        samples = sum(_corners(features, [(place, jnp.ones(place.shape))], _pairs(across)))
        return jnp.sum(samples * gradient.astype(jnp.float32), axis=(2, 3))

    low, high, _, _ = taps
    return None, None, of_weight(low), of_weight(high)


def _pairs(taps):
    """The lower features and their weights, and the upper ones and theirs."""
    low, high, low_weight, high_weight = taps
    return (low, low_weight), (high, high_weight)
