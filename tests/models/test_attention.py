"""Attention against NumPy and in bfloat16, and dropout by the keys of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.models.attention import MultiHeadAttention, attend, dropout, split_keys


def literal_attention(queries, keys, values):
    """Head by head and query by query, in float64."""
    queries, keys, values = (np.asarray(one, np.float64) for one in (queries, keys, values))
    found = np.zeros(queries.shape)
    for region in range(queries.shape[0]):
        for head in range(queries.shape[2]):
            for place, query in enumerate(queries[region, :, head]):
                scores = keys[region, :, head] @ query / np.sqrt(len(query))
                weights = np.exp(scores - scores.max())
                found[region, place, head] = weights @ values[region, :, head] / weights.sum()
    return found


def drawn(tokens, seed, size=1.0, dtype=jnp.float32):
    return (size * jax.random.normal(jax.random.key(seed), (2, tokens, 3, 4))).astype(dtype)


def test_attention_is_the_literal_one():
    queries, keys, values = drawn(5, 0), drawn(7, 1), drawn(7, 2)
    np.testing.assert_allclose(attend(queries, keys, values), literal_attention(queries, keys, values), atol=1e-5)


def test_scores_and_softmax_of_bfloat16_are_float32():
    """Scores of a hundred would be of steps of a half in bfloat16, and their exponentials anything."""
    queries, keys, values = (drawn(6, seed, size, jnp.bfloat16) for seed, size in ((0, 15), (1, 15), (2, 1)))
    found = attend(queries, keys, values)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), literal_attention(queries, keys, values), atol=0.02)


def test_projections_start_as_torchs():
    """Uniform within the root of 6 / (C + 3 C) where three are packed in one, and of 1 / C; biases are zeros."""
    channels = 64
    module = MultiHeadAttention(4)
    inputs = jnp.zeros((1, 2, channels))
    params = module.init(jax.random.key(0), inputs, inputs, inputs)["params"]
    for name, bound in (("query", 6 / 256), ("key", 6 / 256), ("value", 6 / 256), ("output", 1 / 64)):
        largest = np.abs(params[name]["kernel"]).max()
        assert 0.99 * np.sqrt(bound) < largest <= np.sqrt(bound)
        assert not params[name]["bias"].any()


def keys_of(images, seed=0):
    return jax.random.split(jax.random.key(seed), images)


def test_dropout_keeps_the_mean_and_its_rate():
    values = jnp.full((6, 5000), 3.0)
    found = dropout(values, 0.1, keys_of(2))
    np.testing.assert_allclose((found == 0).mean(), 0.1, atol=0.01)
    np.testing.assert_allclose(found[found != 0], 3 / 0.9, rtol=1e-6)
    regions = np.asarray(found == 0)
    assert all((regions[i] != regions[j]).any() for i in range(6) for j in range(i))


def test_dropout_of_an_image_is_its_own():
    """Whatever else is in the batch, so that it does not matter how images are spread over devices."""
    values = jax.random.normal(jax.random.key(1), (6, 40))
    together = dropout(values, 0.5, keys_of(3))
    for image, key in enumerate(keys_of(3)):
        rows = slice(2 * image, 2 * image + 2)
        np.testing.assert_array_equal(dropout(values[rows], 0.5, key[None]), together[rows])


@pytest.mark.parametrize(("rate", "keys"), [(0.5, None), (0.0, keys_of(1))])
def test_without_keys_or_rate_nothing_is_dropped(rate, keys):
    values = jnp.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(dropout(values, rate, keys), values)


def test_the_weights_of_attention_are_dropped():
    """With values of ones its output is the sum of the weights that are left, of a mean of 1."""
    queries, keys = drawn(50, 0), drawn(70, 1)
    found = attend(queries, keys, jnp.ones((2, 70, 3, 4)), rate=0.3, random_keys=keys_of(2))
    assert found.std() > 0.05
    np.testing.assert_allclose(found.mean(), 1, atol=0.05)


def test_keys_are_split_image_by_image():
    first, second = split_keys(keys_of(3), 2)
    assert first.shape == second.shape == (3,)
    for image, key in enumerate(keys_of(3)):
        expected = jax.random.split(key, 2)
        assert jax.random.key_data(first[image]).tolist() == jax.random.key_data(expected[0]).tolist()
        assert jax.random.key_data(second[image]).tolist() == jax.random.key_data(expected[1]).tolist()
    assert split_keys(None, 2) == [None, None]
