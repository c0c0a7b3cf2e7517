"""ROIAlign.

Shape shorthand: H, W feature size; C channels; N RoIs; S output size; R rows of a flat table of features.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def roi_align(
    features: Float[Array, "H W C"],
    boxes: Float[Array, "N 4"],
    output_size: int,
    *,
    spatial_scale: float,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Float[Array, "N {output_size} {output_size} C"]:
    """Pools each box into output_size x output_size bins, with the semantics of `torchvision.ops.roi_align`.

    The value of a bin is the mean of sampling_ratio x sampling_ratio bilinear samples. A sample more than one feature
    outside the map is 0, one outside by less has the value of the border.

    Args:
      features: one image's feature map.
      boxes: xyxy in image pixels. No gradient flows to them.
      output_size: S.
      spatial_scale: features a pixel, 1 / stride.
      sampling_ratio: samples a bin along each side.
      aligned: whether features lie at pixel centres (a shift by half a feature). Without, torchvision's older form:
        no shift, and boxes are at least one feature wide and high. Its `MultiScaleRoIAlign` pools so.
    """
    scale = jnp.full(boxes.shape[0], spatial_scale, jnp.float32)
    height, width, channels = features.shape
    return _pool(
        features.reshape(-1, channels),
        boxes,
        scale,
        jnp.full(boxes.shape[0], height),
        jnp.full(boxes.shape[0], width),
        jnp.zeros(boxes.shape[0], jnp.int32),
        output_size,
        sampling_ratio,
        aligned,
    )


def multilevel_roi_align(
    features: Sequence[Float[Array, "_ _ C"]],
    boxes: Float[Array, "N 4"],
    output_size: int,
    *,
    strides: Sequence[int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    canonical_size: int = 224,
    canonical_level: int = 4,
) -> Float[Array, "N {output_size} {output_size} C"]:
    """ROIAlign from the level of a feature pyramid that suits each box's size (torchvision's `MultiScaleRoIAlign`).

    A box of side `canonical_size` pools from level `canonical_level`, one of half the side from the level below, as far
    as levels go (FPN, equation 1). Level k is the one of stride 2 ** k.

    Args:
      features: maps of the levels, finest first.
      boxes: xyxy in image pixels. No gradient flows to them.
      output_size: S.
      strides: pixels a feature of each level, successive powers of two.
      sampling_ratio: as for `roi_align`.
      aligned: as for `roi_align`.
      canonical_size: side in pixels of a box that belongs to `canonical_level`.
      canonical_level: see `canonical_size`.
    """
    level = level_of_boxes(boxes, strides, canonical_size=canonical_size, canonical_level=canonical_level)
    sizes = [feature.shape[:2] for feature in features]
    starts = [0]
    for height, width in sizes[:-1]:
        starts.append(starts[-1] + height * width)
    table = jnp.concatenate([feature.reshape(-1, feature.shape[-1]) for feature in features])
    return _pool(
        table,
        boxes,
        1 / jnp.asarray(strides, jnp.float32)[level],
        jnp.asarray([height for height, _ in sizes])[level],
        jnp.asarray([width for _, width in sizes])[level],
        jnp.asarray(starts)[level],
        output_size,
        sampling_ratio,
        aligned,
    )


def level_of_boxes(boxes, strides, *, canonical_size=224, canonical_level=4):
    """Index into `strides` of the pyramid level for each box."""
    lowest = strides[0].bit_length() - 1
    side = jnp.sqrt(jnp.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0))
    level = jnp.floor(canonical_level + jnp.log2(side / canonical_size) + 1e-6)
    return jnp.clip(level - lowest, 0, len(strides) - 1).astype(jnp.int32)


def _pool(table, boxes, scale, height, width, start, output_size, sampling_ratio, aligned):
    boxes = jax.lax.stop_gradient(boxes).astype(jnp.float32) * scale[:, None] - (0.5 if aligned else 0.0)
    y0, y1, wy0, wy1 = _taps(boxes[:, 1], boxes[:, 3], height, output_size, sampling_ratio, aligned)
    x0, x1, wx0, wx1 = _taps(boxes[:, 0], boxes[:, 2], width, output_size, sampling_ratio, aligned)
    total = 0
    for sy in range(sampling_ratio):
        for sx in range(sampling_ratio):
            for y, wy in ((y0, wy0), (y1, wy1)):
                for x, wx in ((x0, wx0), (x1, wx1)):
                    row = start[:, None, None] + y[:, :, None, sy] * width[:, None, None] + x[:, None, :, sx]
                    weight = wy[:, :, None, sy] * wx[:, None, :, sx]
                    total += table[row] * weight[..., None].astype(table.dtype)
    return total


def _taps(low, high, length, output_size, sampling_ratio, aligned):
    extent = high - low
    if not aligned:
        extent = jnp.maximum(extent, 1)
    bin_size = extent / output_size
    offset = jnp.arange(output_size)[:, None] + (jnp.arange(sampling_ratio) + 0.5) / sampling_ratio
    position = low[:, None, None] + offset * bin_size[:, None, None]
    last = (length - 1)[:, None, None]
    inside = (position >= -1) & (position <= last + 1)
    position = jnp.clip(position, 0, last.astype(position.dtype))
    first = jnp.floor(position).astype(jnp.int32)
    fraction = position - first
    scale = inside / sampling_ratio
    return first, jnp.minimum(first + 1, last), (1 - fraction) * scale, fraction * scale
