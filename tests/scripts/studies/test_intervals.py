"""Intervals against worked examples, and against what they promise: to hold the truth in 95 of 100 repetitions."""

import numpy as np
import pytest

from scripts.studies.intervals import draw_counts, over_images, over_seeds, spread


def test_mean_and_deviation():
    found = spread([20.0, 22.0, 27.0])
    assert (found.mean, found.seeds) == (23.0, 3)
    assert found.deviation == pytest.approx(np.sqrt((9 + 1 + 16) / 2))
    assert spread([20.0]).deviation is None


def test_students_interval_of_three_differences():
    # t at 97.5 % with two degrees of freedom is 4.303.
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high - found.mean == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert found.low == pytest.approx(2 * found.mean - found.high)
    assert not found.excludes_zero
    assert over_seeds([2.0, 2.1, 1.9]).excludes_zero
    one = over_seeds([1.5])
    assert (one.mean, one.low, one.high, one.excludes_zero) == (1.5, None, None, False)


def test_students_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [over_seeds(rng.normal(1.0, 2.0, 4)) for _ in range(2000)]
    share = np.mean([one.low <= 1.0 <= one.high for one in intervals])
    assert 0.935 < share < 0.965


def test_the_interval_over_images_is_of_percentiles():
    found = over_images(0.3, np.concatenate([np.arange(1000) / 1000, [np.nan]]))
    assert (found.mean, found.low, found.high) == (0.3, pytest.approx(0.025, abs=1e-3), pytest.approx(0.974, abs=1e-3))


def test_samples_have_as_many_images_as_the_test_set_and_are_the_same_for_every_run():
    counts = draw_counts(20, 50)
    assert counts.shape == (50, 20)
    assert (counts.sum(1) == 20).all()
    assert len(np.unique(counts, axis=0)) == 50
    np.testing.assert_array_equal(counts, draw_counts(20, 50))
