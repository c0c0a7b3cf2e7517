import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.ops import roi_align

STRIDES = (4, 8, 16, 32)


def value_and_vjp(pool, features, cotangent):
    """What `pool` gives for the features, and the gradient of the features for a cotangent of it."""

    @jax.jit
    def both(features, cotangent):
        pooled, vjp = jax.vjp(pool, features)
        return pooled, vjp(cotangent)[0]

    return both(features, cotangent)


@pytest.mark.parametrize("name", "abcd")
def test_torchvision(golden, name):
    """Values and gradients, for boxes within, over and beyond each border."""
    size, sampling_ratio, aligned = (int(setting) for setting in golden[f"{name}_settings"])
    pool = functools.partial(
        roi_align.roi_align,
        boxes=jnp.asarray(golden["boxes"]),
        output_size=size,
        spatial_scale=0.25,
        sampling_ratio=sampling_ratio,
        aligned=bool(aligned),
    )
    pooled, gradient = value_and_vjp(pool, jnp.asarray(golden["features"]), jnp.asarray(golden[f"{name}_cotangent"]))
    np.testing.assert_allclose(pooled, golden[f"{name}_pooled"], atol=2e-5)
    np.testing.assert_allclose(gradient, golden[f"{name}_gradient"], atol=2e-4)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("side", "samples"), [(0.5, 1), (4.9, 1), (5.1, 2), (12.0, 3), (19.9, 4), (40.0, 4)])
def test_samples_that_adapt_to_the_box(aligned, side, samples):
    """A box that is `side` features wide and 7 high has `samples` along a row and 2 along a column.

    The features are a product of one function of rows and one of columns, and so is what is pooled.
    """
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(16, 1, 3)), rng.normal(size=(1, 48, 3))
    boxes = 4 * jnp.float32([[3, 5, 3 + side, 12], [4, 9, 4 + side, 16]])

    def pool(features, sampling_ratio):
        whole = jnp.asarray(np.broadcast_to(features, (16, 48, 3)), jnp.float32)
        return roi_align.roi_align(whole, boxes, 5, spatial_scale=0.25, sampling_ratio=sampling_ratio, aligned=aligned)

    np.testing.assert_allclose(pool(rows * columns, 0), pool(rows, 2) * pool(columns, samples), atol=1e-5)


def test_boxes_that_are_not_finite_pool_to_zero_however_many_samples():
    boxes = jnp.float32([[jnp.nan, 1, 5, 5], [-jnp.inf, 1, jnp.inf, 5], [3, 1, jnp.nan, 5]])
    pooled = roi_align.roi_align(jnp.ones((8, 8, 2)), boxes, 3, spatial_scale=1.0, sampling_ratio=0)
    np.testing.assert_array_equal(pooled, 0)


def pyramid(golden, dtype=jnp.float32):
    return [jnp.asarray(golden[f"levels_features_{level}"], dtype) for level in range(4)]


def pool_pyramid(features, boxes, output_size=5):
    return roi_align.multilevel_roi_align(features, boxes, output_size, strides=STRIDES, aligned=False)


def test_torchvision_pyramid(golden):
    """Boxes of all levels, some exactly at the limits between two."""
    pool = functools.partial(pool_pyramid, boxes=jnp.asarray(golden["levels_boxes"]))
    pooled, gradients = value_and_vjp(pool, pyramid(golden), jnp.asarray(golden["levels_cotangent"]))
    np.testing.assert_allclose(pooled, golden["levels_pooled"], atol=2e-5)
    for level, gradient in enumerate(gradients):
        assert np.abs(gradient).max() > 0, "no box on this level"
        np.testing.assert_allclose(gradient, golden[f"levels_gradient_{level}"], atol=2e-4)


def test_both_backward_passes_agree(golden):
    """The one for CPUs and the one for other devices; elsewhere only the CPU's runs in the tests."""
    features = pyramid(golden)
    boxes = jnp.asarray(golden["levels_boxes"])
    level = jnp.arange(len(boxes)) % 4
    sizes = roi_align._sizes(features)
    cotangents, taps = zip(
        *(
            (
                jax.random.normal(jax.random.key(size), (len(boxes), size, size, 3)),
                roi_align._taps(sizes, boxes, level, (1 / 4, 1 / 8, 1 / 16, 1 / 32), size, 2, True),
            )
            for size in (5, 2)
        ),
        strict=True,
    )
    rows, tiles = (
        jax.jit(functools.partial(scatter, sizes))(cotangents, (level, level), taps)
        for scatter in (roi_align._scatter_rows, roi_align._scatter_tiles)
    )
    for row, tile in zip(rows, tiles, strict=True):
        np.testing.assert_allclose(row, tile, atol=1e-4)


def test_sets_of_boxes_pool_together_as_apart(golden):
    """Values, and the sum of both gradients."""
    features = pyramid(golden)
    boxes = jnp.asarray(golden["levels_boxes"])
    regions = ((boxes, 5), (boxes[:3] * 0.9, 2))

    def apart(features):
        return tuple(roi_align.multilevel_roi_align(features, *region, strides=STRIDES) for region in regions)

    def together(features):
        return roi_align.multilevel_roi_aligns(features, regions, strides=STRIDES)

    outputs, gradients = jax.vjp(together, features)
    expected, expected_gradients = jax.vjp(apart, features)
    cotangents = jax.tree.map(lambda x: jax.random.normal(jax.random.key(0), x.shape), outputs)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(gradients(cotangents)[0], expected_gradients(cotangents)[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_box_of_many_tiles():
    """A box as long as a wide map: the gradient of a sum is the number of samples, whatever the tiling."""
    features = jnp.zeros((20, 400, 2))
    boxes = jnp.asarray([[0.0, 0, 400, 20], [395, 15, 400, 20], [3, 2, 9, 300]])

    def total(features):
        return jnp.sum(roi_align.roi_align(features, boxes, 14, spatial_scale=1.0))

    gradient = jax.jit(jax.grad(total))(features)
    reference = jax.grad(lambda f: jnp.sum(_by_definition(f, boxes, 14)))(features)
    np.testing.assert_allclose(gradient, reference, atol=1e-4)
    assert gradient[:, 390:].max() > 0


def _by_definition(features, boxes, size):
    """Aligned ROIAlign with two samples a bin from `map_coordinates`, for samples within a feature of the border."""
    offset = (jnp.arange(2 * size) + 0.5) / (2 * size)
    y = boxes[:, 1, None] - 0.5 + offset * (boxes[:, 3] - boxes[:, 1])[:, None]
    x = boxes[:, 0, None] - 0.5 + offset * (boxes[:, 2] - boxes[:, 0])[:, None]
    inside = ((y >= -1) & (y <= features.shape[0]))[:, :, None] & ((x >= -1) & (x <= features.shape[1]))[:, None, :]
    y, x = jnp.clip(y, 0, features.shape[0] - 1), jnp.clip(x, 0, features.shape[1] - 1)
    coordinates = [jnp.broadcast_to(y[:, :, None], inside.shape), jnp.broadcast_to(x[:, None, :], inside.shape)]
    samples = jax.vmap(
        lambda plane: jax.scipy.ndimage.map_coordinates(plane, coordinates, order=1, mode="nearest"), -1, -1
    )(features)
    samples = jnp.where(inside[..., None], samples, 0)
    return samples.reshape(len(boxes), size, 2, size, 2, -1).mean(axis=(2, 4))


def test_vmap_over_images(golden):
    """Values and gradients of a batch are those of its images."""
    features = [jnp.stack([feature, -2 * feature]) for feature in pyramid(golden)]
    boxes = jnp.asarray(golden["levels_boxes"])
    boxes = jnp.stack([boxes, boxes[::-1]])
    cotangent = jnp.stack([jnp.asarray(golden["levels_cotangent"])] * 2)
    together, gradients = value_and_vjp(lambda f: jax.vmap(pool_pyramid)(f, boxes), features, cotangent)
    for image in range(2):
        pool = functools.partial(pool_pyramid, boxes=boxes[image])
        alone, alone_gradients = value_and_vjp(pool, [feature[image] for feature in features], cotangent[image])
        np.testing.assert_allclose(together[image], alone, atol=1e-5)
        for both, one in zip(gradients, alone_gradients, strict=True):
            np.testing.assert_allclose(both[image], one, atol=1e-4)


def test_bfloat16(golden):
    """Features are rounded, sums are not."""
    boxes = jnp.asarray(golden["levels_boxes"])
    half = pyramid(golden, jnp.bfloat16)
    pool = functools.partial(pool_pyramid, boxes=boxes)
    pooled, gradients = value_and_vjp(pool, half, jnp.asarray(golden["levels_cotangent"], jnp.bfloat16))
    exact = jax.jit(pool)([feature.astype(jnp.float32) for feature in half])
    assert pooled.dtype == jnp.bfloat16
    # One rounding to the 8 bits of a bfloat16 mantissa; rounded sums of 16 terms would be further off.
    np.testing.assert_allclose(pooled.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
    assert all(gradient.dtype == jnp.bfloat16 for gradient in gradients)


def test_no_gradient_of_boxes(golden):
    features = pyramid(golden)
    gradient_of_boxes = jax.jit(jax.grad(lambda boxes: jnp.sum(pool_pyramid(features, boxes))))
    gradient = gradient_of_boxes(jnp.asarray(golden["levels_boxes"]))
    np.testing.assert_array_equal(gradient, 0)


def test_boxes_that_are_not_finite_pool_to_zero_and_end(golden):
    boxes = jnp.asarray([[np.nan] * 4, [0, 0, np.inf, 10], [-np.inf, 0, np.inf, 10]], jnp.float32)
    pool = functools.partial(pool_pyramid, boxes=boxes)
    pooled, gradients = value_and_vjp(pool, pyramid(golden), jnp.ones((3, 5, 5, 3)))
    np.testing.assert_array_equal(pooled, 0)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_no_boxes(golden):
    pool = functools.partial(pool_pyramid, boxes=jnp.zeros((0, 4)))
    pooled, gradients = value_and_vjp(pool, pyramid(golden), jnp.zeros((0, 5, 5, 3)))
    assert pooled.shape == (0, 5, 5, 3)
    assert all((gradient == 0).all() for gradient in gradients)


def test_levels_must_agree(golden):
    with pytest.raises(ValueError, match="4 feature maps but 2 strides"):
        roi_align.multilevel_roi_align(pyramid(golden), jnp.zeros((1, 4)), 5, strides=(4, 8))
