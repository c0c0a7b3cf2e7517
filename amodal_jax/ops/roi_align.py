"""ROIAlign.

Shape shorthand: H, W feature size; C channels; N RoIs; S output size; P samples a bin along one side; L levels.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

ADAPTING_SAMPLES = 4
"""The most samples a bin along each side where their number adapts to the box; arrays have a place for each."""

# The backward pass on the CPU adds to tiles of this many features; see `_scatter_tiles`.
_TILE_HEIGHT = 8
_TILE_WIDTH = 16


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
      features: one image's feature map. Samples are summed in float32 whatever its type.
      boxes: xyxy in image pixels. No gradient flows to them. A box that is not finite pools to 0.
      output_size: S.
      spatial_scale: features a pixel, 1 / stride.
      sampling_ratio: samples a bin along each side. 0: as many as the bin is features long, rounded up, as detectron2
        and torchvision have it, but at most ADAPTING_SAMPLES. Costs as much as that many for each box.
      aligned: whether features lie at pixel centres (a shift by half a feature). Without, torchvision's older form:
        no shift, and boxes are at least one feature wide and high. Its `MultiScaleRoIAlign` pools so.
    """
    level = jnp.zeros(boxes.shape[0], jnp.int32)
    scales = (float(spatial_scale),)
    return _pool((features,), (boxes,), (level,), scales, (output_size,), sampling_ratio, aligned)[0]


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
      features: one image's maps, finest first.
      boxes: xyxy in image pixels. No gradient flows to them. A box that is not finite pools to 0.
      output_size: S.
      strides: pixels a feature of each level, successive powers of two.
      sampling_ratio: as for `roi_align`.
      aligned: as for `roi_align`.
      canonical_size: side in pixels of a box that belongs to `canonical_level`.
      canonical_level: see `canonical_size`.

    Raises:
      ValueError: there are not as many strides as feature maps.
    """
    regions = ((boxes, output_size),)
    return multilevel_roi_aligns(
        features,
        regions,
        strides=strides,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        canonical_size=canonical_size,
        canonical_level=canonical_level,
    )[0]


def multilevel_roi_aligns(
    features: Sequence[Float[Array, "_ _ C"]],
    regions: Sequence[tuple[Float[Array, "_ 4"], int]],
    *,
    strides: Sequence[int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    canonical_size: int = 224,
    canonical_level: int = 4,
) -> tuple[Float[Array, "_ _ _ C"], ...]:
    """`multilevel_roi_align` of several sets of boxes, each with its output size.

    The gradient of the features is collected once for all of them, which on GPUs takes an array in float32 as large as
    they are.

    Raises:
      ValueError: there are not as many strides as feature maps.
    """
    if len(features) != len(strides):
        raise ValueError(f"{len(features)} feature maps but {len(strides)} strides")
    lowest = strides[0].bit_length() - 1

    def suiting_level(boxes: Float[Array, "N 4"]) -> Int[Array, " N"]:
        extent = boxes[:, 2:] - boxes[:, :2]
        side = jnp.sqrt(jnp.maximum(extent[:, 0] * extent[:, 1], 0))
        # The small addend keeps the canonical size itself on its level.
        level = jnp.floor(canonical_level + jnp.log2(side / canonical_size) + 1e-6) - lowest
        return jnp.clip(jnp.nan_to_num(level), 0, len(strides) - 1).astype(jnp.int32)

    boxes, output_sizes = zip(*regions, strict=True)
    levels = tuple(suiting_level(each) for each in boxes)
    scales = tuple(1 / stride for stride in strides)
    return _pool(tuple(features), boxes, levels, scales, output_sizes, sampling_ratio, aligned)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _pool(features, boxes, levels, scales, output_sizes, sampling_ratio, aligned):
    """ROIAlign of each box from its level; `boxes`, `levels` and `output_sizes` have an entry for each set of boxes."""
    sizes = _sizes(features)
    table = jnp.concatenate([feature.reshape(-1, feature.shape[-1]) for feature in features])
    pooled = []
    for each, level, output_size in zip(boxes, levels, output_sizes, strict=True):
        start = jnp.asarray(np.cumsum([0] + [height * width for height, width in sizes[:-1]]))[level]
        width = jnp.asarray([width for _, width in sizes])[level]
        taps_y, taps_x = _taps(sizes, each, level, scales, output_size, sampling_ratio, aligned)
        # Written out as a sum of gathers, XLA makes of it one loop over the output that runs along the channels and
        # stores nothing in between: on two CPU cores some 20 times faster than gathering all corners first.
        total = jnp.zeros((), jnp.float32)
        for row, weight in _corners(start, width, taps_y, taps_x):
            total += table[row].astype(jnp.float32) * weight[..., None]
        pooled.append(total.astype(table.dtype))
    return tuple(pooled)


def _pool_forward(features, boxes, levels, scales, output_sizes, sampling_ratio, aligned):
    pooled = _pool(features, boxes, levels, scales, output_sizes, sampling_ratio, aligned)
    # The backward pass needs the shapes of the features, not their values.
    return pooled, (tuple(feature[..., :0] for feature in features), boxes, levels)


def _pool_backward(scales, output_sizes, sampling_ratio, aligned, residuals, gradients):
    features, boxes, levels = residuals
    sizes = _sizes(features)
    taps = tuple(
        _taps(sizes, each, level, scales, output_size, sampling_ratio, aligned)
        for each, level, output_size in zip(boxes, levels, output_sizes, strict=True)
    )
    of_features = jax.lax.platform_dependent(
        gradients,
        levels,
        taps,
        cpu=functools.partial(_scatter_tiles, sizes),
        default=functools.partial(_scatter_rows, sizes),
    )
    dtype = gradients[0].dtype
    return tuple(each.astype(dtype) for each in of_features), tuple(jnp.zeros_like(each) for each in boxes), None


_pool.defvjp(_pool_forward, _pool_backward)


def _sizes(features):
    return tuple((feature.shape[0], feature.shape[1]) for feature in features)


def _taps(sizes, boxes, level, scales, output_size, sampling_ratio, aligned):
    """For y and for x: the two features that each sample lies between and their weights, four arrays [N, S, P]."""
    boxes = boxes.astype(jnp.float32) * jnp.asarray(scales, jnp.float32)[level][:, None] - (0.5 if aligned else 0.0)
    bins, samples = np.arange(output_size)[:, None], np.arange(sampling_ratio or ADAPTING_SAMPLES)
    taps = []
    for axis, column in ((0, 1), (1, 0)):
        extent = boxes[:, column + 2] - boxes[:, column]
        if not aligned:
            extent = jnp.maximum(extent, 1)
        if sampling_ratio:
            count = sampling_ratio
            offset = jnp.float32(bins + (samples + 0.5) / count)
        else:
            count = jnp.clip(jnp.nan_to_num(jnp.ceil(extent / output_size)), 1, ADAPTING_SAMPLES)[:, None, None]
            # Samples beyond the count, which have no weight, lie on the last one.
            offset = (jnp.minimum(samples, count - 1) + 0.5) / count + bins
        position = boxes[:, column, None, None] + offset * (extent / output_size)[:, None, None]
        length = jnp.asarray([size[axis] for size in sizes])[level][:, None, None]
        inside = (position >= -1) & (position <= length)
        position = jnp.where(jnp.isnan(position), 0, jnp.clip(position, 0, length - 1))
        low = jnp.floor(position).astype(jnp.int32)
        fraction = position - low
        share = (inside & (samples < count)) / count
        taps.append((low, jnp.minimum(low + 1, length - 1), (1 - fraction) * share, fraction * share))
    return taps


def _corners(start, width, taps_y, taps_x):
    """Row in the table of all levels' features and weight, each [N, S, S], of every corner of every sample."""
    y_low, y_high, y_low_weight, y_high_weight = taps_y
    x_low, x_high, x_low_weight, x_high_weight = taps_x
    for sample_y in range(y_low.shape[2]):
        for sample_x in range(x_low.shape[2]):
            for y, y_weight in ((y_low, y_low_weight), (y_high, y_high_weight)):
                for x, x_weight in ((x_low, x_low_weight), (x_high, x_high_weight)):
                    row = start[:, None] + y[..., sample_y] * width[:, None]
                    weight = y_weight[:, :, None, sample_y] * x_weight[:, None, :, sample_x]
                    yield row[:, :, None] + x[:, None, :, sample_x], weight


def _scatter_rows(sizes, gradients, levels, taps):
    """Gradients of the features by scatter-add of each corner, in float32: GPUs add it atomically, but not bfloat16."""
    channels = gradients[0].shape[-1]
    starts = np.cumsum([0] + [height * width for height, width in sizes])
    table = jnp.zeros((starts[-1], channels), jnp.float32)
    for gradient, level, (taps_y, taps_x) in zip(gradients, levels, taps, strict=True):
        width = jnp.asarray([width for _, width in sizes])[level]
        for row, weight in _corners(jnp.asarray(starts)[level], width, taps_y, taps_x):
            table = table.at[row].add(gradient.astype(jnp.float32) * weight[..., None])
    return tuple(
        table[start : start + height * width].reshape(height, width, channels)
        for start, (height, width) in zip(starts, sizes, strict=False)
    )


@jax.custom_batching.sequential_vmap
def _add_tiles(canvas, gradient, top, taps_y, taps_x):
    """Adds the gradients of all RoIs to `canvas` [rows, columns, C], whose row `top` [N] is row 0 of each RoI's level.

    Each RoI is covered by tiles of fixed size, as many as it takes. Its gradient in a tile is the product of two small
    matrices with the gradient of its output, one of weights along y and one along x, and is added in one piece.
    """
    count, output_size, _, channels = gradient.shape
    first_y, first_x = (jnp.min(taps[0], axis=(1, 2)) for taps in (taps_y, taps_x))
    tiles_y = (jnp.max(taps_y[1], axis=(1, 2)) - first_y) // _TILE_HEIGHT + 1
    tiles_x = (jnp.max(taps_x[1], axis=(1, 2)) - first_x) // _TILE_WIDTH + 1

    def weights(taps, roi, start, length):
        """The weight of each of `length` features from `start` in each bin: [S, length]."""
        low, high, low_weight, high_weight = (each[roi][..., None] for each in taps)
        position = start + jnp.arange(length)
        return jnp.sum((low == position) * low_weight + (high == position) * high_weight, axis=1)

    def add_tile(state):
        canvas, roi, tile_y, tile_x = state
        y = first_y[roi] + tile_y * _TILE_HEIGHT
        x = first_x[roi] + tile_x * _TILE_WIDTH
        weights_y = weights(taps_y, roi, y, _TILE_HEIGHT)
        weights_x = weights(taps_x, roi, x, _TILE_WIDTH)
        output = gradient[roi].astype(jnp.float32).reshape(output_size, output_size * channels)
        strip = (weights_y.T @ output).reshape(_TILE_HEIGHT, output_size, channels)
        # Without the barrier XLA computes the strip anew for each feature of the tile. The sum over bins in its turn is
        # written out, because the dot of it would transpose both operands.
        strip = jax.lax.optimization_barrier(strip)
        tile = sum(weights_x[column][:, None] * strip[:, column, None] for column in range(output_size))
        corner = (top[roi] + y, x, jnp.zeros_like(x))
        canvas = jax.lax.dynamic_update_slice(canvas, jax.lax.dynamic_slice(canvas, corner, tile.shape) + tile, corner)
        tile_x += 1
        row_done = tile_x == tiles_x[roi]
        tile_y += row_done
        roi_done = tile_y == tiles_y[roi]
        return canvas, roi + roi_done, jnp.where(roi_done, 0, tile_y), jnp.where(row_done, 0, tile_x)

    zero = jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(lambda state: state[1] < count, add_tile, (canvas, zero, zero, zero))[0]


def _scatter_tiles(sizes, gradients, levels, taps):
    """Gradients of the features by adding tiles one after the other.

    XLA's scatter on a CPU is a loop over single rows: 386 ms for 512 RoIs at 7x7x256 on two cores, where this takes 86
    and torchvision's compiled loop 88.
    """
    channels = gradients[0].shape[-1]
    tops = np.cumsum([0] + [height for height, _ in sizes])
    # A tile may reach beyond its level, with weights of zero, and so beyond the canvas.
    canvas_size = (tops[-1] + _TILE_HEIGHT, max(width for _, width in sizes) + _TILE_WIDTH, channels)
    canvas = jnp.zeros(canvas_size, jnp.float32)
    for gradient, level, (taps_y, taps_x) in zip(gradients, levels, taps, strict=True):
        if gradient.shape[0]:
            canvas = _add_tiles(canvas, gradient, jnp.asarray(tops)[level], taps_y, taps_x)
    return tuple(canvas[top : top + height, :width] for top, (height, width) in zip(tops, sizes, strict=False))
