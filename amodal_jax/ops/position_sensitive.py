"""Position-sensitive RoI pooling: each cell of a region is the mean of score maps of its own (R-FCN; FCIS section 3.1).

Shape shorthand: H, W feature size; F features of a cell; N RoIs; G groups a side; C cells a side, a multiple of G.

The mean over a cell's features is two products with matrices of weights, of rows and then of columns, so that its
gradient is two products as well and nothing is scattered.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALLEST_PARTS = 10
"""A RoI thinner than one of as many parts of a feature counts as that thick (FCIS, `psroi_pooling.cu`)."""
ROIS_AT_ONCE = 16
"""RoIs whose products of rows are held at a time, 21 * 7 * W * F values each."""


def position_sensitive_pool(
    maps: Float[Array, "H W F G G"], boxes: Float[Array, "N 4"], cells: int, *, stride: int
) -> Float[Array, "N {cells} {cells} F"]:
    """The mean of each cell of each RoI, from the maps of the cell's group (FCIS, `psroi_pooling.cu`).

    A RoI's edges are rounded to whole pixels. Cell (p, q) covers the features from floor(start + p * side / C) to
    before ceil(start + (p + 1) * side / C) of both axes, as far as they are on the map; one that covers none is 0. Its
    group is (p, q) * G // C.

    Args:
      maps: one image's score maps; the last axes are the row and the column of their group.
      boxes: xyxy in image pixels, continuous: FCIS' own code writes [x1, y1, x2 - 1, y2 - 1] for the same. No gradient
        flows to them.
      cells: C.
      stride: pixels a feature.
    """
    rows, columns = _means(boxes, maps, cells, stride)
    maps = maps.transpose(3, 0, 4, 1, 2)

    def pool(one_rows: Float[Array, "G c H"], one_columns: Float[Array, "G c W"]) -> Float[Array, "G c G c F"]:
        of_rows = jnp.einsum("gph,ghkwf->gpkwf", one_rows, maps)
        return jnp.einsum("gpkwf,kqw->gpkqf", of_rows, one_columns)

    pooled = _over_chunks(pool, rows, columns)
    return pooled.reshape(boxes.shape[0], cells, cells, -1)


def position_sensitive_mean(
    maps: Float[Array, "H W F G G"], boxes: Float[Array, "N 4"], cells: int, *, stride: int
) -> Float[Array, "N F"]:
    """The mean over all cells of `position_sensitive_pool`, for less than computing them: FCIS' box regression."""
    rows, columns = (jnp.mean(side, axis=2) for side in _means(boxes, maps, cells, stride))
    maps = maps.transpose(3, 0, 4, 1, 2)

    def pool(one_rows: Float[Array, "G H"], one_columns: Float[Array, "G W"]) -> Float[Array, " F"]:
        of_rows = jnp.einsum("gh,ghkwf->kwf", one_rows, maps)
        return jnp.einsum("kwf,kw->f", of_rows, one_columns) / maps.shape[0] ** 2

    return _over_chunks(pool, rows, columns)


def _over_chunks(pool, rows, columns):
    """`pool` of every RoI, some at a time."""
    return jax.lax.map(lambda pair: pool(*pair), (rows, columns), batch_size=ROIS_AT_ONCE)


def _means(boxes, maps, cells, stride):
    """The weights of features in the cells' means along y [N, G, C / G, H] and along x [N, G, C / G, W]."""
    height, width, _, groups, _ = maps.shape
    pixels = jnp.floor(jax.lax.stop_gradient(boxes) + 0.5).astype(jnp.int32)
    weigh = functools.partial(_means_along, cells=cells, groups=groups, stride=stride)
    return weigh(pixels[:, 1], pixels[:, 3], length=height), weigh(pixels[:, 0], pixels[:, 2], length=width)


def _means_along(start, end, *, length, cells, groups, stride):
    # In whole parts of a feature: as floats, an edge on the border of two features would be rounded to either.
    unit = cells * stride * SMALLEST_PARTS
    side = jnp.maximum((end - start) * SMALLEST_PARTS, stride)
    edges = (start * cells * SMALLEST_PARTS)[:, None] + jnp.arange(cells + 1) * side[:, None]
    low = jnp.clip(edges[:, :-1] // unit, 0, length)
    high = jnp.clip(-(-edges[:, 1:] // unit), 0, length)
    places = jnp.arange(length)
    covered = (places >= low[..., None]) & (places < high[..., None])
    weights = covered / jnp.maximum(high - low, 1)[..., None].astype(jnp.float32)
    return weights.reshape(-1, groups, cells // groups, length)
