import collections
import dataclasses

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.canvas import at_short_side
from amodal_jax.config import Config, HeadConfig, InputConfig, MLCConfig, OcclusionConfig
from amodal_jax.input_pipeline.batches import training_batches
from amodal_jax.network import build_network
from amodal_jax.runs.metrics_log import read_metrics_log
from amodal_jax.train import train
from amodal_jax.training import step as single_size
from amodal_jax.training.multi_scale import at_size, drawn_short_side
from tests.helpers.micro import micro_config

PANET = (1200, 1200, 1000, 800, 600, 400)


def with_train(config, **changes):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


# A network with few parts, in two sizes whose canvases differ: 64 x 96 and 32 x 96.
SMALL = micro_config(
    heads=HeadConfig(fc_channels=16, channels=8, inmodal_mask=False),
    occlusion=OcclusionConfig(enabled=False),
    mlc=MLCConfig(enabled=False),
)
CONFIG = with_train(SMALL, seed=6, steps=3, batch_size=8, short_sides=(64, 32), evaluate_every=0, checkpoint_every=100)


def assert_bit_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), strict=True)


def test_what_is_drawn_is_a_matter_of_seed_and_step():
    """These draws are of runs that may go on under another version of what draws them."""
    config = with_train(Config(), short_sides=PANET)
    drawn = [drawn_short_side(config, step) for step in range(12)]
    assert drawn == [1200, 600, 400, 400, 1200, 600, 800, 1200, 400, 600, 1000, 400]
    assert [drawn_short_side(config, step) for step in reversed(range(12))] == drawn[::-1]
    assert [drawn_short_side(with_train(config, seed=1), step) for step in range(12)] != drawn
    other = with_train(dataclasses.replace(config, name="other"), batch_size=2, steps=7, learning_rate=1.0)
    assert [drawn_short_side(other, step) for step in range(12)] == drawn


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), start=st.integers(0, 10**6))
def test_sizes_are_as_frequent_as_they_are_named(seed, start):
    config = with_train(Config(), short_sides=PANET, seed=seed)
    counts = collections.Counter(drawn_short_side(config, step) for step in range(start, start + 1200))
    expected = {side: 200 * PANET.count(side) for side in PANET}
    assert counts.keys() == expected.keys()
    deviations = [(counts[side] - expected[side]) ** 2 / expected[side] for side in expected]
    assert sum(deviations) < 45  # chi square of four degrees of freedom: one in 10 ** 8 is over it


def test_one_size_is_the_configurations():
    config = with_train(CONFIG, short_sides=())
    assert {drawn_short_side(config, step) for step in range(20)} == {64}
    assert at_size(config, 64) == config


def test_each_size_is_compiled_once_and_a_run_goes_on_bit_for_bit(tiny_dataset, tmp_path, monkeypatch, capsys):
    """Three steps of two sizes, once without a stop and once stopped after the first; a log says each step's size."""
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, directory=str(tiny_dataset)))
    sides = [drawn_short_side(config, step) for step in range(3)]
    # The first size comes back, and a run that began to draw anew when it goes on would have another second step.
    assert sides == [64, 32, 64]
    traced = []

    def noting(*arguments, network, **options):
        traced.append(network)
        return train_step(*arguments, network=network, **options)

    train_step = single_size.train_step
    monkeypatch.setattr(single_size, "train_step", noting)
    expected = train(config, tmp_path / "unbroken")
    by_hand = [
        InputConfig(short_side=64, long_side=96, height=64, width=96),
        InputConfig(short_side=32, long_side=96, height=32, width=96),
    ]
    models = (dataclasses.replace(config.model, input=one) for one in by_hand)
    assert traced == [build_network(dataclasses.replace(config, model=model)) for model in models]
    said = capsys.readouterr().err
    for first, side, canvas in ((1, 64, "64 x 96"), (2, 32, "32 x 96")):
        assert said.count(f"step {first}: the first with a short side of {side}, on a canvas of {canvas}") == 1

    train(with_train(config, steps=1), tmp_path / "broken")
    resumed = train(config, tmp_path / "broken")
    assert "going on from step 1" in capsys.readouterr().err
    assert_bit_equal(resumed, expected)
    logs = [read_metrics_log(tmp_path / name / "metrics.jsonl") for name in ("broken", "unbroken")]
    for log in logs:
        log.pop("images_per_second", None)
    assert logs[0] == logs[1]
    assert logs[0]["short_side"] == {1: 64, 2: 32, 3: 64}


def test_batches_are_the_same_whatever_the_sizes(tiny_dataset):
    """At the images' own resolution; the network resizes them."""
    config = dataclasses.replace(SMALL, data=dataclasses.replace(SMALL.data, directory=str(tiny_dataset)))
    one, other = (
        next(training_batches(with_train(config, short_sides=sides), batch_size=2)) for sides in ((), (64, 32))
    )
    assert_bit_equal(one, other)


def test_at_a_size_the_input_alone_is_another():
    sized = at_size(CONFIG, 32)
    assert sized.model.input == at_short_side(CONFIG.model.input, 32)
    assert dataclasses.replace(sized, model=dataclasses.replace(sized.model, input=CONFIG.model.input)) == CONFIG
