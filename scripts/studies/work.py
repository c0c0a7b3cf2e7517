"""A study from its plan to its tables."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amodal_jax.config import Config
from amodal_jax.evaluation.truth import read_categories, read_truth
from amodal_jax.training.start import with_class_names
from scripts.benchmarks.machine import describe_machine, describe_versions
from scripts.studies.cost import estimate
from scripts.studies.jobs import Job, JobFailed, Stopped, minutes_so_far, run_job
from scripts.studies.outcome import table_outcome
from scripts.studies.report import markdown, write_table
from scripts.studies.resampling import resampled_precisions
from scripts.studies.tables import Table


def plan(jobs: Sequence[Job], config: Config) -> None:
    """Prints every job with its number, whether it is done, and what the others will take by a measured step.

    Raises:
      DataError: the dataset is missing or damaged.
      ConfigError: the dataset has other classes than the configuration.
    """
    config = _with_classes(config)
    missing = [job for job in jobs if job.metrics(config.train.steps) is None]
    expected = estimate(missing, config) if missing else None
    for number, job in enumerate(jobs):
        remark = "done"
        if expected is not None and job in missing:
            seconds = expected.seconds_a_step[job.row.name]
            remark = f"{config.train.steps} steps of {seconds:.3g} s"
        print(f"{number:>4}  {job.row.name:16} seed {job.seed}  {remark}")
    if expected is not None:
        print(
            f"{len(missing)} of {len(jobs)} trainings are to be done, {expected.hours:.2g} hours on this machine, "
            "one after the other; evaluations come on top",
            flush=True,
        )


def finish(
    jobs: Sequence[Job], config: Config, tables: Sequence[Table], folder: Path, samples: int, command: str
) -> int:
    """Does what is missing of the jobs, then writes and prints the tables.

    Args:
      jobs: in the order in which they are done.
      config: what they change.
      tables: those to write; none: the jobs alone.
      folder: the study's.
      samples: of the bootstrap.
      command: what was typed.

    Returns:
      The exit status: 0, or 1 if a job failed, or 130 if a signal stopped the study.
    """
    steps = config.train.steps
    failures: dict[str, str] = {}
    for number, job in enumerate(jobs, start=1):
        if job.metrics(steps) is None:
            print(f"[{number}/{len(jobs)}] {job.name}: python {' '.join(job.train_command)}", flush=True)
        try:
            run_job(job, steps)
        except JobFailed as error:
            failures[job.row.name] = f"seed {job.seed}: {error}"
            print(f"{job.name} failed: {error}", file=sys.stderr, flush=True)
        except Stopped:
            print("stopped by a signal; the same command goes on from there", file=sys.stderr)
            return 130
    if tables:
        _write(jobs, _with_classes(config), tables, folder, samples, failures, command)
    return 1 if failures else 0


def _write(
    jobs: Sequence[Job],
    config: Config,
    tables: Sequence[Table],
    folder: Path,
    samples: int,
    failures: dict[str, str],
    command: str,
) -> None:
    done = {(job.row.name, job.seed): job for job in jobs if job.metrics(config.train.steps) is not None}
    runs = {key: job.metrics(config.train.steps) or {} for key, job in done.items()}
    truth = read_truth(config)
    resampled = {
        key: resampled_precisions(job.metrics_file.parent, truth, samples) for key, job in sorted(done.items())
    }
    minutes = minutes_so_far(folder)
    for table in tables:
        names = {row.name for row in table.rows}
        facts: dict[str, Any] = {
            "dataset": f"{config.data.directory}, split {config.data.test_split}, {len(truth.image_sizes)} images, "
            f"{sum(not instance.is_crowd for instance in truth.instances)} objects",
            "training": f"{config.train.steps} steps of {config.train.batch_size} images",
            "start": next(iter(jobs)).settings.init or "from scratch",
            "hours": round(sum(took for run, took in minutes.items() if run.split("/")[0] in names) / 60, 2),
            "bootstrap samples": samples,
            "command": command,
            "machine": ", ".join(f"{name} {value}" for name, value in describe_machine().items()),
            "versions": ", ".join(f"{name} {version}" for name, version in describe_versions().items()),
        }
        outcomes = table_outcome(table, runs, resampled, failures)
        files = write_table(folder, table, outcomes, facts)
        print(markdown(table, outcomes, facts))
        print(f"written to {', '.join(map(str, files))}", flush=True)


def _with_classes(config: Config) -> Config:
    """With the dataset's classes, where the configuration names none."""
    return with_class_names(config, tuple(read_categories(config).values()))
