"""Reads back what a training has logged."""

import json
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.text_file import read_text

Series = dict[int, float]
"""Values by training step."""


def read_metrics_log(path: Path) -> dict[str, Series]:
    """The values that a training logged, by name and step.

    Where a resumed run has logged a step again, the later value counts. A last line that was cut off when the run was
    killed is passed over; one anywhere else is an error.

    Raises:
      DataError: a line is no JSON object with a step; names it.
    """
    series: dict[str, Series] = {}
    lines = read_text(path, errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise DataError(f"{path}, line {number}: not a JSON object with a step; mend or remove it") from error
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(name, {})[step] = float(value)
    return series
