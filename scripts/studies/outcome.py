"""What a table's trainings gave: means over seeds, and differences from the base row with their intervals."""

import dataclasses
from typing import Any

import numpy as np

from scripts.studies.intervals import Interval, Spread, over_images, over_seeds, spread
from scripts.studies.tables import Row, Table

Figures = dict[str, Any]
"""What metrics.json of a run holds, fractions by name."""


@dataclasses.dataclass(frozen=True)
class RowOutcome:
    """What came out of a row; all values in per cent."""

    row: Row
    seeds: tuple[int, ...]
    """Whose trainings are done."""
    values: dict[str, tuple[float, ...]]
    """Of each figure, of each of those seeds; a figure that its network does not give is absent."""
    spreads: dict[str, Spread]
    over_seeds: dict[str, Interval]
    """Of each figure, the mean difference from the base row on the seeds that both have."""
    over_images: dict[str, Interval]
    """The same differences, with intervals over test images."""
    failure: str | None = None
    """Why a training of it is missing."""


def table_outcome(
    table: Table,
    runs: dict[tuple[str, int], Figures],
    resampled: dict[tuple[str, int], dict[str, np.ndarray]],
    failures: dict[str, str],
) -> list[RowOutcome]:
    """Joins what the runs of a table gave, row by row.

    Args:
      table: its rows and figures.
      runs: the figures of those that are done, by row and seed.
      resampled: of the same runs, AP on bootstrap samples by figure.
      failures: by row, why a training of it is missing.
    """
    outcomes = []
    for row in table.rows:
        seeds = tuple(sorted(seed for name, seed in runs if name == row.name))
        shared = [seed for seed in seeds if (table.base, seed) in runs and row.name != table.base]
        values: dict[str, tuple[float, ...]] = {}
        seed_intervals, image_intervals = {}, {}
        for figure in table.figures:
            if not seeds or any(figure not in runs[row.name, seed] for seed in seeds):
                continue
            values[figure] = tuple(100 * float(runs[row.name, seed][figure]) for seed in seeds)
            if not shared or any(figure not in runs[table.base, seed] for seed in shared):
                continue
            differences = [
                100 * (float(runs[row.name, seed][figure]) - float(runs[table.base, seed][figure])) for seed in shared
            ]
            seed_intervals[figure] = over_seeds(differences)
            pairs = [(resampled.get((row.name, seed), {}), resampled.get((table.base, seed), {})) for seed in shared]
            if all(figure in ours and figure in base for ours, base in pairs):
                of_samples = 100 * np.mean([ours[figure] - base[figure] for ours, base in pairs], axis=0)
                image_intervals[figure] = over_images(float(np.mean(differences)), of_samples)
        outcomes.append(
            RowOutcome(
                row=row,
                seeds=seeds,
                values=values,
                spreads={figure: spread(of_figure) for figure, of_figure in values.items()},
                over_seeds=seed_intervals,
                over_images=image_intervals,
                failure=failures.get(row.name),
            )
        )
    return outcomes
