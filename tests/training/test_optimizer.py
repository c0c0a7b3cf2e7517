import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.config import TrainConfig
from amodal_jax.network import build_network, initialise
from amodal_jax.training.optimizer import learning_rate_schedule, make_optimizer, trainable
from tests.helpers.micro import micro_config


def test_the_papers_schedule():
    schedule = learning_rate_schedule(TrainConfig())
    steps = [0, 250, 500, 19_999, 20_000, 21_999, 22_000, 23_999]
    expected = [0.02 / 3, 0.02 * (1 / 3 + 0.5 * 2 / 3), 0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002]
    np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-5)


@given(steps=st.integers(2, 1000), batch_size=st.integers(1, 64))
def test_a_cosine_falls_to_nothing_and_scales_with_the_batch(steps, batch_size):
    train = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        scale_learning_rate=True,
        schedule="cosine",
        warmup_steps=0,
        learning_rate=0.1,
    )
    rates = [float(learning_rate_schedule(train)(step)) for step in (0, steps // 2, steps)]
    base = 0.1 * batch_size / 8
    halfway = base * 0.5 * (1 + np.cos(np.pi * (steps // 2) / steps))
    np.testing.assert_allclose(rates, [base, halfway, 0], rtol=1e-4, atol=1e-7)


def rate_by_hand(train, step):
    """The learning rate of one step, by the words of `learning_rate_schedule`, in double precision."""
    progress = min(step / train.warmup_steps, 1) if train.warmup_steps else 1
    warmup = train.warmup_factor + (1 - train.warmup_factor) * progress
    if train.schedule == "cosine":
        decay = 0.5 * (1 + np.cos(np.pi * min(step / train.steps, 1)))
    else:
        decay = 0.1 ** sum(step >= fall for fall in train.decay_steps)
    return train.learning_rate * warmup * decay


@given(
    steps=st.integers(1, 500),
    warmup_steps=st.integers(0, 600),
    warmup_factor=st.floats(0.01, 1),
    schedule=st.sampled_from(["step", "cosine"]),
    decay_steps=st.lists(st.integers(0, 500), max_size=3).map(sorted).map(tuple),
)
@settings(max_examples=40, deadline=None)
def test_every_step_has_the_rate_that_the_words_say(steps, warmup_steps, warmup_factor, schedule, decay_steps):
    """Decays within the warm-up, several at one step or at step 0, and steps behind the last one too."""
    train = TrainConfig(
        steps=steps,
        learning_rate=0.02,
        schedule=schedule,
        decay_steps=decay_steps,
        warmup_steps=warmup_steps,
        warmup_factor=warmup_factor,
    )
    places = np.unique([0, 1, warmup_steps // 2, warmup_steps, steps - 1, steps, steps + 3, *decay_steps])
    places = np.unique([*places, *np.maximum(np.array(decay_steps, int) - 1, 0)]).astype(np.int32)
    expected = [rate_by_hand(train, int(step)) for step in places]
    found = [float(learning_rate_schedule(train)(jnp.int32(step))) for step in places]
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-8)


def step_by_step(train, params, gradients):
    optimizer = make_optimizer(train)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_sgd_follows_its_equations():
    train = TrainConfig(momentum=0.9, weight_decay=0.1, learning_rate=0.5, warmup_steps=0, decay_steps=(2,))
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(2, 3)), rng.normal(size=3)
    gradients = [{"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)} for _ in range(3)]
    to_jax = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)  # noqa: E731
    found = step_by_step(train, to_jax({"kernel": kernel, "bias": bias}), to_jax(gradients))
    velocity = {"kernel": 0.0, "bias": 0.0}
    for gradient, rate in zip(gradients, (0.5, 0.5, 0.05), strict=True):
        velocity["kernel"] = 0.9 * velocity["kernel"] + gradient["kernel"] + 0.1 * kernel
        velocity["bias"] = 0.9 * velocity["bias"] + gradient["bias"]
        kernel, bias = kernel - rate * velocity["kernel"], bias - rate * velocity["bias"]
    np.testing.assert_allclose(found["kernel"], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["bias"], bias, rtol=1e-5, atol=1e-6)


def test_adamw_decays_apart_from_the_gradient():
    train = TrainConfig(optimizer="adamw", weight_decay=0.1, learning_rate=0.5, warmup_steps=0)
    params = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)}
    found = step_by_step(train, params, [{"kernel": jnp.full((2, 2), 3.0), "bias": jnp.zeros(2)}])
    # The first step of Adam has the length of the learning rate, whatever the gradient.
    np.testing.assert_allclose(found["kernel"], 2 - 0.5 * (1 + 0.1 * 2), rtol=1e-5)
    np.testing.assert_array_equal(found["bias"], 1)


@pytest.mark.parametrize(("limit", "factor"), [(2.5, 0.5), (50.0, 1.0), (0.0, 1.0)])
def test_gradients_are_clipped_by_their_global_norm(limit, factor):
    train = TrainConfig(gradient_clip=limit, momentum=0.0, weight_decay=0.0, learning_rate=1.0, warmup_steps=0)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    found = step_by_step(train, params, [{"a": jnp.array([3.0]), "b": jnp.array([4.0])}])
    np.testing.assert_allclose([found["a"][0], found["b"][0]], [-3 * factor, -4 * factor], rtol=1e-5)


@pytest.fixture(scope="module")
def params():
    """Ones for every parameter of a real network."""
    config = micro_config()
    detector = build_network(config)
    shapes = jax.eval_shape(lambda key: initialise(detector, config, key), jax.random.key(0))["params"]
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 5])
def test_frozen_stages_stay_as_they_are(params, frozen_stages):
    backbone = dataclasses.replace(micro_config().model.backbone, frozen_stages=frozen_stages)
    prefixes = build_network(micro_config(backbone=backbone)).frozen
    optimizer = make_optimizer(TrainConfig(weight_decay=0.1), frozen=prefixes)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    parts = [("conv1", "bn1"), *((f"layer{stage}_0", f"layer{stage}_1") for stage in (1, 2, 3, 4))]
    frozen = {name for part in parts[:frozen_stages] for name in part}
    moved = {
        name: any(np.any(leaf) for leaf in jax.tree.leaves(updates["backbone"][name])) for name in params["backbone"]
    }
    assert moved == {name: name not in frozen for name in params["backbone"]}
    assert all(np.all(leaf) for name in params if name != "backbone" for leaf in jax.tree.leaves(updates[name]))
    flags = trainable(params, prefixes)
    assert {name for name, part in flags["backbone"].items() if not any(jax.tree.leaves(part))} == frozen
