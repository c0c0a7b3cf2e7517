import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax import losses


def test_occlusion_is_the_weighted_mean_of_torch():
    # torch.nn.functional.cross_entropy(logits, labels, weight=[1, 8]), computed by hand.
    logits = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.5, 0.5], [9.0, -9.0]])
    occluded = jnp.array([False, True, True, True])
    valid = jnp.array([True, True, True, False])
    nll = np.array([np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log(2.0)])
    expected = (nll * [1, 8, 8]).sum() / 17
    term = losses.occlusion(logits, occluded, valid, positive_weight=8.0)
    np.testing.assert_allclose(losses.mean(term), expected, rtol=1e-6)


def test_box_regression_counts_all_samples_but_sums_positives():
    deltas = jnp.array([[0.05, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0]])
    term = losses.box_regression(
        deltas, jnp.zeros((3, 4)), jnp.array([True, True, False]), jnp.array([True, True, True]), beta=0.1
    )
    np.testing.assert_allclose(losses.mean(term), (0.5 * 0.05**2 / 0.1 + 1.0 - 0.05) / 3, rtol=1e-6)


def test_what_is_not_valid_changes_nothing():
    logits, labels = jnp.array([[3.0, -1.0], [0.2, 0.1]]), jnp.array([0, 1])
    whole = losses.mean(losses.classification(logits[:1], labels[:1], jnp.array([True])))
    padded = losses.mean(losses.classification(logits, labels, jnp.array([True, False])))
    assert whole == padded
    mask = losses.mask(jnp.full((2, 4, 4), 2.0), jnp.ones((2, 4, 4)), jnp.array([True, False]))
    np.testing.assert_allclose(losses.mean(mask), np.log1p(np.exp(-2.0)), rtol=1e-6)


def test_an_empty_mean_is_zero_and_so_is_its_gradient():
    def loss(logits):
        return losses.mean(losses.objectness(logits, jnp.zeros(2, bool), jnp.zeros(2, bool)))

    value, gradient = jax.value_and_grad(loss)(jnp.array([1.0, 2.0]))
    assert value == 0
    assert not gradient.any()


def test_shares_of_devices_add_up_to_the_global_mean():
    totals, counts = jnp.arange(4.0), jnp.array([1.0, 0.0, 5.0, 2.0])
    shares = jax.vmap(lambda t, c: losses.mean(losses.Mean(t, c), "devices"), axis_name="devices")(totals, counts)
    np.testing.assert_allclose(shares.sum(), totals.sum() / counts.sum(), rtol=1e-6)
