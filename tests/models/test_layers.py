from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from amodal_jax.models import layers
from amodal_jax.models.layers import Conv, Deconv2x2, Deconv3x3, FrozenBatchNorm, GroupNorm, OutputConv, make_norm


@pytest.fixture(scope="module")
def golden():
    """The arrays written by tests/golden/regenerate/models.py."""
    return np.load(Path(__file__).resolve().parents[1] / "golden" / "models" / "layers.npz")


def test_conv_shapes_and_parameters():
    inputs = jnp.ones((2, 9, 12, 3))
    for size, stride, padding, shape in [
        (1, 2, None, (5, 6)),
        (3, 1, None, (9, 12)),
        (3, 1, 0, (7, 10)),
        (7, 2, 3, (5, 6)),
    ]:
        outputs, variables = jax.eval_shape(Conv(8, size, stride, padding).init_with_output, jax.random.key(0), inputs)
        assert outputs.shape == (2, *shape, 8)
        assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (size, size, 3, 8), "bias": (8,)}
    assert set(Conv(8, 3, use_bias=False).init(jax.random.key(0), inputs)["params"]) == {"kernel"}


@pytest.mark.parametrize("module", [Conv(4, 3), Deconv2x2(4), Deconv3x3(4), GroupNorm(), FrozenBatchNorm()], ids=repr)
def test_computes_in_its_type_over_float32_values(module):
    module = module.clone(dtype=jnp.bfloat16)
    outputs, variables = module.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 8)))
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("module", "name", "to_kernel"),
    [
        (Deconv2x2(4), "deconv2x2", lambda weight: weight.transpose(2, 3, 0, 1)),
        (Deconv3x3(4), "deconv3x3", lambda weight: weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)),
    ],
)
def test_deconvolutions_are_torchs(golden, module, name, to_kernel):
    kernel = jnp.asarray(to_kernel(golden[f"{name}_weight"]))
    variables = {"params": {"kernel": kernel, "bias": jnp.asarray(golden[f"{name}_bias"])}}
    outputs = module.apply(variables, jnp.asarray(golden["inputs"]))
    np.testing.assert_allclose(outputs, golden[f"{name}_outputs"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (1, 1), (2, 5)])
def test_deconv3x3_is_a_convolution_of_the_input_with_zeros_in_between(height, width):
    """Values and gradients."""
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(2, height, width, 6)), jnp.float32)
    cotangent = jnp.asarray(rng.normal(size=(2, 2 * height, 2 * width, 5)), jnp.float32)
    params = Deconv3x3(5).init(jax.random.key(1), inputs)["params"]

    def slow(params, inputs):
        spread = jnp.zeros((2, 2 * height, 2 * width, 6)).at[:, ::2, ::2].set(inputs)
        return Conv(5, 3).apply({"params": params}, spread)

    outputs, gradients = jax.vjp(lambda *args: Deconv3x3(5).apply({"params": args[0]}, args[1]), params, inputs)
    expected, expected_gradients = jax.vjp(slow, params, inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=2e-6)
    for one, other in zip(*map(jax.tree.leaves, (gradients(cotangent), expected_gradients(cotangent))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_dense_is_flax_dense():
    inputs = jax.random.normal(jax.random.key(0), (3, 8))
    variables = layers.Dense(5).init(jax.random.key(1), inputs)
    variables["params"]["bias"] += 0.5
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, nn.Dense(5).init(jax.random.key(1), inputs))
    np.testing.assert_allclose(layers.Dense(5).apply(variables, inputs), nn.Dense(5).apply(variables, inputs))


def test_frozen_batch_norm():
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 5)), jnp.float32)
    values = {"scale": 0.5, "bias": -1.0, "mean": 2.0, "var": 4.0}
    frozen = {name: jnp.full(5, value) for name, value in values.items()}
    outputs = FrozenBatchNorm().apply({"frozen": frozen}, inputs)
    np.testing.assert_allclose(outputs, (inputs - 2) / np.sqrt(4 + 1e-5) * 0.5 - 1, rtol=1e-5, atol=1e-6)
    variables = FrozenBatchNorm().init(jax.random.key(0), inputs)
    assert set(variables) == {"frozen"}
    np.testing.assert_allclose(FrozenBatchNorm().apply(variables, inputs), inputs, rtol=1e-5)


def test_group_norm_is_torchs(golden):
    variables = {"params": {"scale": golden["norm_scale"], "bias": golden["norm_bias"]}}
    outputs = GroupNorm().apply(variables, jnp.asarray(golden["inputs"] * 3 + 5))
    np.testing.assert_allclose(outputs, golden["norm_outputs"], rtol=1e-4, atol=1e-5)


def test_group_norm_gradient():
    """Against the difference quotient in the direction of a random change."""
    rng = np.random.default_rng(0)
    inputs, change, cotangent = jnp.asarray(rng.normal(size=(3, 2, 4, 5, 8)), jnp.float32)
    variables = GroupNorm().init(jax.random.key(0), inputs)

    def loss(step):
        return (GroupNorm(max_groups=2).apply(variables, inputs + step * change) * cotangent).sum()

    quotient = (loss(1e-2) - loss(-1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(loss)(0.0), quotient, rtol=1e-2)


@pytest.mark.parametrize(
    ("channels", "groups"), [(256, 32), (64, 32), (32, 16), (48, 16), (24, 8), (16, 8), (10, 2), (2, 1), (1, 1)]
)
def test_group_norm_groups(channels, groups):
    """Each group's values have mean 0, and no smaller set of channels' need to."""
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 7, channels)), jnp.float32)
    outputs, _ = GroupNorm().init_with_output(jax.random.key(0), inputs)
    mean = outputs.reshape(2, 42, groups, channels // groups).mean((1, 3))
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    if groups < channels:
        assert np.abs(outputs.mean((1, 2))).max() > 1e-3


def test_group_norm_far_from_zero():
    """A mean that is large beside the deviation must not swallow the deviation."""
    noise = np.random.default_rng(0).normal(size=(1, 16, 16, 4)).astype(np.float32)
    outputs, _ = GroupNorm(max_groups=2).init_with_output(jax.random.key(0), jnp.asarray(noise + 1000))
    expected, _ = GroupNorm(max_groups=2).init_with_output(jax.random.key(0), jnp.asarray(noise))
    np.testing.assert_allclose(outputs, expected, atol=1e-3)


def test_make_norm():
    class Two(nn.Module):
        norm: layers.Norm

        @nn.compact
        def __call__(self, x):
            return make_norm(self.norm, jnp.float32, "bn1")(x)

    inputs = jnp.ones((1, 2, 2, 4))
    assert set(Two("frozen_batch_norm").init(jax.random.key(0), inputs)["frozen"]) == {"bn1"}
    assert set(Two("group_norm").init(jax.random.key(0), inputs)["params"]) == {"bn1"}
    outputs, variables = Two("none").init_with_output(jax.random.key(0), inputs)
    assert variables == {}
    np.testing.assert_array_equal(outputs, inputs)


@pytest.mark.parametrize(
    ("initializer", "deviation", "bound"),
    [
        (layers.msra_normal, np.sqrt(2 / (9 * 128)), np.inf),
        (layers.kaiming_uniform, np.sqrt(1 / (9 * 64)), np.sqrt(3 / (9 * 64))),
        (layers.normal_001, 0.01, np.inf),
        (layers.normal_0001, 0.001, np.inf),
    ],
)
def test_initialisers(initializer, deviation, bound):
    kernel = initializer(jax.random.key(0), (3, 3, 64, 128), jnp.float32)
    assert float(kernel.std()) == pytest.approx(deviation, rel=0.02)
    assert float(jnp.abs(kernel).max()) <= bound


def test_outputs_keep_the_digits_of_float32():
    inputs = jax.random.normal(jax.random.key(0), (1, 8, 9, 32))
    module = OutputConv(3, dtype=jnp.bfloat16)
    outputs, variables = module.init_with_output(jax.random.key(1), inputs)
    assert outputs.dtype == jnp.float32
    rounded = inputs.astype(jnp.bfloat16).astype(jnp.float32)
    kernel = variables["params"]["kernel"][0, 0].astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_allclose(outputs, rounded @ kernel, rtol=1e-5, atol=1e-5)
    assert jnp.unique(outputs).size == outputs.size
    assert variables["params"]["kernel"].dtype == jnp.float32
    gradient = jax.grad(lambda x: jnp.sum(module.apply(variables, x)))(inputs.astype(jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relu_is_jax_relu(dtype):
    """Values and gradients, at 0 too."""
    inputs = jnp.asarray([-2.0, -1e-30, 0.0, 1e-30, 3.0], dtype)
    cotangent = jnp.arange(1, 6, dtype=dtype)
    outputs, gradient = jax.vjp(layers.relu, inputs)
    expected, expected_gradient = jax.vjp(jax.nn.relu, inputs)
    np.testing.assert_array_equal(outputs, expected)
    np.testing.assert_array_equal(gradient(cotangent)[0], expected_gradient(cotangent)[0])
    assert outputs.dtype == gradient(cotangent)[0].dtype == dtype


def test_a_bias_gets_a_gradient_of_all_digits():
    """Its sum in bfloat16 would end at 256, where adding 1 changes nothing."""
    outputs = jnp.zeros((4096, 2), jnp.bfloat16)
    (rest, gradient) = jax.grad(lambda *arguments: layers.add_bias(*arguments).sum(), (0, 1))(outputs, jnp.ones(2))
    np.testing.assert_array_equal(gradient, [4096, 4096])
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(rest, jnp.ones_like(outputs))


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (3, 2, 2, 2, 2, 6)])
def test_output_convolutions_of_one_input_are_each_ones_own(shape):
    """Values and gradients, against products written out."""
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=shape), jnp.float32)
    convs = [OutputConv(features) for features in (2, 3)]
    variables = [conv.init(jax.random.key(index), inputs) for index, conv in enumerate(convs)]
    cotangents = [jnp.asarray(rng.normal(size=(*shape[:-1], conv.features)), jnp.float32) for conv in convs]

    class Both(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return layers.output_convolutions([OutputConv(2, name="a"), OutputConv(3, name="b")], inputs)

    def written_out(params, inputs):
        return [inputs @ params[name]["kernel"][0, 0] + params[name]["bias"] for name in ("a", "b")]

    params = dict(zip(("a", "b"), (each["params"] for each in variables), strict=True))
    outputs, gradients = jax.vjp(lambda *args: Both().apply({"params": args[0]}, args[1]), params, inputs)
    expected, expected_gradients = jax.vjp(written_out, params, inputs)
    pairs = ((outputs, expected), (gradients(cotangents), expected_gradients(cotangents)))
    for one, other in ((a, b) for pair in pairs for a, b in zip(*map(jax.tree.leaves, pair), strict=True)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_chosen_outputs_are_those_of_all():
    """Values and gradients."""
    inputs = jax.random.normal(jax.random.key(0), (4, 3, 2, 6))
    channels = jnp.asarray([2, 0, 1, 2])
    conv = OutputConv(3)
    variables = conv.init(jax.random.key(1), inputs)
    variables["params"]["bias"] += jnp.arange(3.0)
    cotangent = jax.random.normal(jax.random.key(2), (4, 3, 2))

    def of_all(variables, inputs):
        return jnp.take_along_axis(conv.apply(variables, inputs), channels[:, None, None, None], axis=-1)[..., 0]

    def chosen(variables, inputs):
        return conv.apply(variables, inputs, channels, method="chosen")

    outputs, gradients = jax.vjp(chosen, variables, inputs)
    expected, expected_gradients = jax.vjp(of_all, variables, inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)
    for one, other in zip(*map(jax.tree.leaves, (gradients(cotangent), expected_gradients(cotangent))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_blocks_come_to_their_places():
    inputs = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    variables = Deconv2x2(6).init(jax.random.key(1), inputs)
    blocks = Deconv2x2(6, in_blocks=True).apply(variables, inputs).reshape(2, 3, 4, 2, 2, 6)
    np.testing.assert_array_equal(layers.blocks_to_pixels(blocks), Deconv2x2(6).apply(variables, inputs))
    np.testing.assert_array_equal(layers.blocks_to_pixels(blocks)[1, 5, 2], blocks[1, 2, 1, 1, 0])
