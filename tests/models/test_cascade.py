"""The heads of MNC: the mask gate against a literal loop, parameters by hand, and how the streams are put together."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amodal_jax.models.heads.cascade import DenseStream, RegionMask, RegionPredictor, gate


def literal_gate(features, masks):
    """Cell by cell, as the layers of the source."""
    _, size, _, _ = features.shape
    side = masks.shape[1]
    gated = np.zeros(features.shape)
    for region in range(len(features)):
        for row in range(size):
            for column in range(size):
                y, x = row * side / size, column * side / size
                top, left = int(y), int(x)
                bottom, right = min(top + 1, side - 1), min(left + 1, side - 1)
                down, across = y - top, x - left
                mask = masks[region].astype(np.float64)
                upper = (1 - across) * mask[top, left] + across * mask[top, right]
                lower = (1 - across) * mask[bottom, left] + across * mask[bottom, right]
                gated[region, row, column] = features[region, row, column] * ((1 - down) * upper + down * lower)
    return gated


@settings(max_examples=20)
@given(hnp.arrays(np.float32, (2, 21, 21), elements=st.floats(0, 1, width=32)))
def test_the_gate_is_that_of_the_loop(masks):
    features = np.random.default_rng(0).normal(size=(2, 14, 14, 3)).astype(np.float32)
    np.testing.assert_allclose(
        gate(jnp.asarray(features), jnp.asarray(masks)), literal_gate(features, masks), atol=1e-5
    )


def test_an_open_gate_lets_all_through_and_a_closed_one_nothing():
    features = jnp.asarray(np.random.default_rng(1).normal(size=(3, 14, 14, 2)), jnp.float32)
    np.testing.assert_allclose(gate(features, jnp.ones((3, 21, 21))), features, rtol=1e-6)
    assert not gate(features, jnp.zeros((3, 21, 21))).any()


def test_the_gates_gradients_are_finite_differences():
    rng = np.random.default_rng(2)
    features, masks = rng.normal(size=(1, 14, 14, 2)), rng.random((1, 21, 21))
    weight = rng.normal(size=features.shape)
    found = jax.jit(jax.grad(lambda *inputs: jnp.sum(gate(*inputs) * weight), argnums=(0, 1)))(
        jnp.float32(features), jnp.float32(masks)
    )
    np.testing.assert_allclose(found[0], literal_gate(np.ones_like(features), masks) * weight, atol=1e-5)
    step = 1e-2
    for place in [(0, 0, 0), (0, 3, 9), (0, 10, 1), (0, 19, 20), (0, 20, 20)]:
        moved = masks.copy()
        moved[place] += step
        difference = np.sum((literal_gate(features, moved) - literal_gate(features, masks)) * weight) / step
        np.testing.assert_allclose(found[1][place], difference, atol=1e-4, err_msg=str(place))


def parameters(module, *shape):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_the_heads_have_the_parameters_of_their_layers():
    """Of 256 channels, 1024 hidden ones and seven classes: in all 40 848 361, and those of another mask."""
    mask = (14 * 14 * 256 + 1) * 256 + (256 + 1) * 441
    stream = (7 * 7 * 256 + 1) * 1024 + (1024 + 1) * 1024
    outputs = (2048 + 1) * (8 + 8 + 32)
    assert parameters(RegionMask(256), 1, 14, 14, 256) == mask == 12_958_649
    assert parameters(DenseStream(1024), 1, 14, 14, 256) == stream
    assert parameters(RegionPredictor(8), 1, 2048) == outputs
    assert mask + 2 * stream + outputs == 40_848_361


def test_a_stream_sees_the_greatest_of_four_cells():
    features = np.random.default_rng(3).normal(size=(2, 14, 14, 3)).astype(np.float32)
    stream = DenseStream(5)
    variables = stream.init(jax.random.key(0), jnp.asarray(features))
    pooled = np.stack([features[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(axis=0).reshape(2, -1)
    for name in ("fc6", "fc7"):
        layer = variables["params"][name]
        pooled = np.maximum(pooled @ layer["kernel"] + layer["bias"], 0)
    np.testing.assert_allclose(stream.apply(variables, jnp.asarray(features)), pooled, rtol=1e-4, atol=1e-5)


def test_outputs_are_float32_in_half_precision():
    features = jnp.ones((1, 14, 14, 2), jnp.bfloat16)
    mask = RegionMask(4, jnp.bfloat16)
    assert mask.init_with_output(jax.random.key(0), features)[0].dtype == jnp.float32
    found = RegionPredictor(3).init_with_output(jax.random.key(0), jnp.ones((1, 4), jnp.bfloat16))[0]
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}
