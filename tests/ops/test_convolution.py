import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from amodal_jax.ops import convolution
from amodal_jax.ops.convolution import conv2d

CASES = [
    # batch, height, width, input channels, output channels, kernel size, stride, padding, dilation
    (2, 9, 11, 64, 24, 1, 1, 0, 1),
    (2, 9, 12, 64, 8, 1, 2, 0, 1),
    (2, 8, 11, 64, 16, 3, 1, 1, 1),
    (1, 9, 12, 64, 16, 3, 2, 1, 1),
    (2, 8, 13, 24, 8, 3, 2, 1, 1),
    (2, 7, 7, 64, 8, 3, 1, 0, 1),
    (1, 17, 22, 3, 16, 7, 2, 3, 1),
    (1, 6, 5, 64, 4, 5, 1, 4, 1),
    (1, 43, 64, 16, 24, 3, 1, 1, 1),
    (1, 43, 129, 16, 8, 3, 2, 1, 1),
    (41, 7, 7, 16, 8, 3, 1, 1, 1),
    (2, 9, 12, 16, 8, 3, 1, 2, 2),
    (1, 43, 64, 16, 24, 3, 1, 2, 2),
    (2, 11, 13, 24, 8, 3, 2, 3, 3),
    (1, 9, 8, 16, 8, 3, 1, 0, 2),
]


def lax_conv(inputs, kernel, stride, padding, dilation):
    return lax.conv_general_dilated(
        inputs,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def relative_error(actual, expected):
    return float(jnp.abs(actual - expected).max() / jnp.abs(expected).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_lax(case):
    batch, height, width, in_channels, out_channels, size, *form = case
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(batch, height, width, in_channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, in_channels, out_channels)), jnp.float32)
    expected, expected_vjp = jax.vjp(lambda x, k: lax_conv(x, k, *form), inputs, kernel)
    actual, actual_vjp = jax.vjp(lambda x, k: conv2d(x, k, *form), inputs, kernel)
    assert actual.shape == expected.shape
    assert relative_error(actual, expected) < 1e-5
    cotangent = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
    for mine, theirs in zip(actual_vjp(cotangent), expected_vjp(cotangent), strict=True):
        assert relative_error(mine, theirs) < 1e-4
    # What other platforms run.
    other = convolution._xla_gradients(
        inputs, kernel, cotangent, **dict(zip(("stride", "padding", "dilation"), form, strict=True))
    )
    for mine, theirs in zip(other, expected_vjp(cotangent), strict=True):
        assert relative_error(mine, theirs) < 1e-5


def test_kernel_gradient_sums_exactly():
    """Over many pixels the sum stays within float32's rounding of the exact one, which XLA's own gradient does not."""
    rng = np.random.default_rng(1)
    inputs, cotangent = rng.normal(size=(2, 1, 96, 320, 64)).astype(np.float32)
    _, vjp = jax.vjp(lambda k: conv2d(jnp.asarray(inputs), k, 1, 0), jnp.zeros((1, 1, 64, 64)))
    exact = np.einsum("bhwi,bhwo->io", inputs.astype(np.float64), cotangent.astype(np.float64))
    assert np.abs(vjp(jnp.asarray(cotangent))[0][0, 0] - exact).max() < 1e-5 * np.abs(exact).max()


def test_bfloat16_keeps_its_type():
    inputs, kernel = jnp.ones((1, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 16), jnp.bfloat16)
    outputs, vjp = jax.vjp(lambda x, k: conv2d(x, k, 1, 1), inputs, kernel)
    assert outputs.dtype == jnp.bfloat16
    assert [gradient.dtype for gradient in vjp(outputs)] == [jnp.bfloat16, jnp.bfloat16]


def test_under_vmap_and_pmap():
    rng = np.random.default_rng(2)
    inputs = jnp.asarray(rng.normal(size=(2, 1, 8, 9, 64)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 64, 8)), jnp.float32)

    def gradient(x):
        return jax.grad(lambda k: jnp.square(conv2d(x, k, 2, 1)).sum())(kernel)

    expected = jnp.stack([gradient(x) for x in inputs])
    np.testing.assert_allclose(jax.vmap(gradient)(inputs), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(jax.pmap(gradient)(inputs), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (1, 1), (2, 5)])
def test_both_forms_of_a_doubling_convolution_agree(height, width):
    """The one of CPUs and the one of GPUs, values and gradients; the layer's test has what they mean."""
    rng = np.random.default_rng(0)
    inputs, kernel, cotangent = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((2, height, width, 6), (3, 3, 6, 5), (2, 2 * height, 2 * width, 5))
    )
    forms = (
        (convolution._doubled_by_blocks, convolution._gradients_by_blocks),
        (convolution._doubled_by_spreading, convolution._gradients_by_spreading),
    )
    outputs, gradients = zip(
        *((double(inputs, kernel), gradient(inputs, kernel, cotangent)) for double, gradient in forms), strict=True
    )
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-5)
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
