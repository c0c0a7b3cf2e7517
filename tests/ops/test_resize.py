import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.ops import resize


def test_sizes_of_torchvision(golden):
    for limits, expected in zip(golden["limits"], golden["resized"], strict=True):
        short, long = (int(limit) for limit in limits)
        resized = functools.partial(resize.resized_size, short_side=short, long_side=long)
        sizes = np.stack(jax.vmap(resized)(tuple(jnp.asarray(golden["sizes"].T))), axis=1)
        np.testing.assert_array_equal(sizes, expected)
        on_the_host = [resize.host_resized_size(size, short, long) for size in map(tuple, golden["sizes"].tolist())]
        np.testing.assert_array_equal(on_the_host, expected)


@pytest.mark.parametrize(("short", "long"), [(800, 1333), (800, 3000), (384, 1248), (1024, 1024)])
def test_sizes_are_those_of_double_precision(short, long):
    """Those of the host, on sizes for which the product is a whole number and on any others."""
    rng = np.random.default_rng(0)
    sides = np.arange(20, 2500)
    sizes = np.concatenate(
        [np.stack([sides, 2 * sides], 1), np.stack([sides, sides], 1), rng.integers(20, 9000, (2000, 2))]
    )
    resized = jax.jit(jax.vmap(functools.partial(resize.resized_size, short_side=short, long_side=long)))
    expected = [resize.host_resized_size(size, short, long) for size in map(tuple, sizes.tolist())]
    result = np.stack(resized(tuple(jnp.asarray(sizes.T))), axis=1)
    np.testing.assert_array_equal(result, expected)
    assert (result < sizes.astype(np.int64) * short // sizes.min(axis=1, keepdims=True)).any(), "no rounding to follow"


def test_kitti_reaches_the_short_side():
    for size in [(375, 1242), (370, 1224), (376, 1241), (374, 1238)]:
        assert int(resize.resized_size(size, 800, 3000)[0]) == 800


@pytest.mark.parametrize("name", ["up", "down", "mixed"])
def test_interpolation_of_torch(golden, name):
    """The image lies in the corner of a canvas of garbage and lands in the corner of a larger one."""
    image, expected = golden["image"], golden[f"image_{name}"]
    stored = np.full((30, 40, 3), 255, np.uint8)
    stored[: image.shape[0], : image.shape[1]] = image
    size, resized = jnp.asarray(image.shape[:2]), jnp.asarray(expected.shape[:2])
    result = jax.jit(lambda *a: resize.resize_to_canvas(a[0], tuple(a[1]), tuple(a[2]), (64, 96)))(
        jnp.asarray(stored), size, resized
    )
    height, width = expected.shape[:2]
    np.testing.assert_allclose(result[:height, :width], expected, atol=1e-3)
    assert (result[height:] == 0).all()
    assert (result[:, width:] == 0).all()


def test_same_size_is_identity(golden):
    image = jnp.asarray(golden["image"])
    np.testing.assert_array_equal(resize.resize_to_canvas(image, (23, 31), (23, 31), (23, 31)), image)
