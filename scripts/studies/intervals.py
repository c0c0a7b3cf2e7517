"""Means, deviations and 95 % intervals of what trainings of several seeds gave."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mean of a figure over seeds, and how far the seeds lie apart."""

    mean: float
    deviation: float | None
    """Standard deviation of a single seed (n - 1); None of one seed."""
    seeds: int


@dataclasses.dataclass(frozen=True)
class Interval:
    """A difference, and between which bounds it lies with a confidence of 95 %."""

    mean: float
    low: float | None
    """None where the bounds cannot be told, as of one seed."""
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is told from none."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of at least one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


def over_seeds(differences: Sequence[float]) -> Interval:
    """The mean of differences, each of two trainings of one seed, with Student's interval.

    What varies is the training; the test images are the same in all of them.
    """
    mean = float(np.mean(differences))
    if len(differences) < 2:
        return Interval(mean, None, None)
    error = float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    half = error * float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(differences) - 1))
    return Interval(mean, mean - half, mean + half)


def over_images(mean: float, resampled: np.ndarray) -> Interval:
    """A difference with the percentile interval of what resampled test images give for it.

    What varies is the test set; the trainings are those that were made.

    Args:
      mean: the difference on the test set as it is.
      resampled: the difference on each sample [n] of its images; NaN where a sample has no instance.
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Interval(mean, float(low), float(high))


def draw_counts(images: int, samples: int, seed: int = 0) -> np.ndarray:
    """How often each image is in each bootstrap sample [samples, images], which has as many images as the test set."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), samples)
