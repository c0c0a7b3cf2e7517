"""Several runs beside each other: one figure of their periodic evaluations over the training step."""

from collections.abc import Sequence
from pathlib import Path

from amodal_jax.errors import ConfigError
from amodal_jax.runs.metrics_log import Series, read_metrics_log


def evaluated_figures(run_dirs: Sequence[Path], figure: str) -> dict[str, Series]:
    """A figure of each run's evaluations during its training, by the run's name and step.

    Args:
      run_dirs: the --workdir of each training; runs of one folder name go by their paths.
      figure: as it is called in `metrics.jsonl`, such as "amodal/AP50".

    Raises:
      ConfigError: a folder holds no run, or its log has no such figure; names it.
      DataError: a log is damaged.
    """
    names = [run_dir.resolve().name for run_dir in run_dirs]
    if len(set(names)) < len(names):
        names = [str(run_dir) for run_dir in run_dirs]
    found = {}
    for name, run_dir in zip(names, run_dirs, strict=True):
        log = run_dir / "metrics.jsonl"
        if not log.is_file():
            raise ConfigError(f"{run_dir}: no run directory (it has no {log.name}); name the --workdir of a training")
        logged = read_metrics_log(log)
        if figure not in logged:
            known = ", ".join(sorted(name for name in logged if name.count("/") == 1)) or "none"
            raise ConfigError(
                f"{log} has no {figure}, but of evaluations {known}; train with --train.evaluate-every, or name another"
            )
        found[name] = logged[figure]
    return found


def table(figures: dict[str, Series]) -> str:
    """One line for each step that any run was evaluated at, a column for each run, in per cent."""
    widths = [max(len(name), 6) for name in figures]
    lines = ["  ".join(["  step", *(name.rjust(width) for name, width in zip(figures, widths, strict=True))])]
    for step in sorted({step for series in figures.values() for step in series}):
        cells = [f"{100 * series[step]:.1f}" if step in series else "" for series in figures.values()]
        lines.append("  ".join([f"{step:>6}", *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]))
    return "\n".join(line.rstrip() for line in lines)
