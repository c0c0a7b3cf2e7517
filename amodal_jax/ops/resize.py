"""Bilinear resizing of an image on its canvas.

Shape shorthand: H, W canvas of the image as stored; H2, W2 canvas of the network's input.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float32, Int, Num

_LONGEST_SIDE = 16384

Size = tuple[Int[ArrayLike, ""], Int[ArrayLike, ""]]


def host_resized_size(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """(height, width) after scaling so that the short side becomes `short_side` but the long one at most `long_side`.

    torchvision's `GeneralizedRCNNTransform`: both sides are multiplied in double precision by short_side / short side
    or long_side / long side, whichever is less, and rounded down.
    """
    factor = min(short_side / min(size), long_side / max(size))
    return math.floor(size[0] * factor), math.floor(size[1] * factor)


def resized_size(size: Size, short_side: int, long_side: int) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """`host_resized_size` of traced sizes, for devices without double precision: equal for sides up to 16384."""
    height, width = (jnp.asarray(side, jnp.int32) for side in size)
    shorter, longer = jnp.minimum(height, width), jnp.maximum(height, width)
    by_short = short_side * longer <= long_side * shorter
    numerator = jnp.where(by_short, short_side, long_side)
    denominator = jnp.where(by_short, shorter, longer)
    table = np.stack([_quotient_errors(long_side), _quotient_errors(short_side)])
    error = jnp.asarray(table)[by_short.astype(int), jnp.minimum(denominator, _LONGEST_SIDE)]

    # Without double precision on the device the product is taken in integers. That differs where it is a whole number:
    # there torchvision's is one less if the error of the quotient carries the product below the midpoint between the
    # whole number and the double before it, which lies 2 ** -53 / mantissa of the number's value below, or half of that
    # below a power of two.
    def scale(side):
        product = side * numerator // denominator
        mantissa, _ = jnp.frexp(product.astype(jnp.float32))
        midpoint = jnp.where(mantissa == 0.5, 0.5, 0.5 / mantissa)
        return product - ((side * numerator % denominator == 0) & (-error > midpoint))

    return scale(height), scale(width)


@functools.lru_cache
def _quotient_errors(numerator):
    """The relative error of the double numerator / d for each d up to _LONGEST_SIDE, in units of 2 ** -53."""
    errors = [0.0]
    for denominator in range(1, _LONGEST_SIDE + 1):
        over, under = (numerator / denominator).as_integer_ratio()
        errors.append((over * denominator - numerator * under) * 2**53 / (numerator * under))
    return np.asarray(errors, np.float32)


def resize_to_canvas(
    image: Num[Array, "H W 3"], size: Size, resized: Size, canvas: tuple[int, int]
) -> Float32[Array, "H2 W2 3"]:
    """Resizes the image in the top left `size` of its canvas to the top left `resized` of a new one, 0 beyond it.

    Bilinear, pixel centres at half coordinates, no antialiasing: PyTorch's `interpolate(mode="bilinear",
    align_corners=False)` to the size `resized`. What lies beyond `size` on the old canvas has no influence.

    Args:
      image: values of any numeric type.
      size: true (height, width), may be traced.
      resized: (height, width) to reach, at most `canvas`, may be traced.
      canvas: static (H2, W2).
    """
    for axis in (0, 1):
        low, high, weight = _taps(size[axis], resized[axis], canvas[axis])
        weight = jnp.expand_dims(weight, [other for other in range(3) if other != axis])
        image = jnp.take(image, low, axis=axis) * (1 - weight) + jnp.take(image, high, axis=axis) * weight
    inside = (jnp.arange(canvas[0]) < resized[0])[:, None] & (jnp.arange(canvas[1]) < resized[1])[None, :]
    return jnp.where(inside[..., None], image, 0)


def _taps(size, resized, length):
    """The two source indices of each of `length` target pixels of one axis and the weight of the second."""
    scale = jnp.asarray(size, jnp.float32) / jnp.asarray(resized, jnp.float32)
    source = jnp.maximum((jnp.arange(length, dtype=jnp.float32) + 0.5) * scale - 0.5, 0)
    low = jnp.minimum(jnp.floor(source).astype(jnp.int32), size - 1)
    return low, jnp.minimum(low + 1, size - 1), jnp.clip(source - low, 0, 1)
