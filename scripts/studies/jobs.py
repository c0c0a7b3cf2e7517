"""The trainings of a study, each a run directory: which there are, what is done, and how one is brought to its end.

A job is what a user would type: `scripts/train.py` to its last step, then `scripts/evaluate.py`, in processes of their
own, so that one that fails takes nothing with it.
"""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from amodal_jax.errors import ConfigError
from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.files.lock import try_lock
from amodal_jax.files.text import read_text
from scripts.studies.tables import Row

SCRIPTS = Path(__file__).resolve().parents[1]
SETTINGS_FILE = "study.json"
JOBS_FILE = "jobs.jsonl"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all trainings of a study have in common."""

    config: str
    """The name of the configuration that the rows change."""
    dataset: str
    """The built dataset."""
    init: str | None
    """The checkpoint that all trainings start from; None: from scratch."""
    overrides: tuple[str, ...]
    """Further words of their command lines."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One training of a row, from one seed."""

    row: Row
    seed: int
    folder: Path
    """The study's."""
    settings: Settings

    @property
    def name(self) -> str:
        """As it is spoken of."""
        return f"{self.row.name}, seed {self.seed}"

    @property
    def workdir(self) -> Path:
        """Its run directory."""
        return self.folder / "runs" / self.row.name / f"seed-{self.seed}"

    @property
    def metrics_file(self) -> Path:
        """What its evaluation writes last."""
        return self.workdir / "evaluation" / "metrics.json"

    @property
    def log_file(self) -> Path:
        """What its commands print."""
        return self.workdir.parent / f"seed-{self.seed}.log"

    @property
    def words(self) -> list[str]:
        """The fields that it changes of the configuration."""
        fields = ["--data.directory", self.settings.dataset, "--train.seed", str(self.seed)]
        return [*self.row.changes, *self.settings.overrides, *fields]

    @property
    def train_command(self) -> list[str]:
        """What a user would type."""
        init = [] if self.settings.init is None else ["--init", self.settings.init]
        return ["scripts/train.py", self.settings.config, "--workdir", str(self.workdir), *init, *self.words]

    def metrics(self, steps: int) -> dict | None:
        """The figures of its network after that many steps; None before there are any."""
        if not self.metrics_file.is_file():
            return None
        metrics = json.loads(read_text(self.metrics_file))
        return metrics if (metrics.get("checkpoint") or {}).get("step") == steps else None


class Stopped(Exception):
    """A signal asked the study to end; what was begun is saved and goes on with the same command."""


class JobFailed(Exception):
    """A command of a job ended with an error; says with which."""


def keep_settings(folder: Path, settings: Settings) -> None:
    """Writes down what a study's trainings have in common, or checks that it is what its folder was begun with.

    Raises:
      ConfigError: the folder is that of a study with other settings; names the first that differs.
    """
    make_folder(folder)
    file = folder / SETTINGS_FILE
    values = json.loads(json.dumps(dataclasses.asdict(settings)))
    if not file.is_file():
        write_atomically(file, json.dumps(values, indent=2) + "\n")
        return
    for name, value in json.loads(read_text(file)).items():
        if values.get(name) != value:
            raise ConfigError(
                f"{file}: this study has {name} {value!r}, not {values.get(name)!r}: its rows could not be compared; "
                "choose another --out"
            )


def run_job(job: Job, steps: int, *, announce: Callable[[str], None] = print) -> bool:
    """Trains and evaluates what is missing of a job.

    Args:
      job: what to do.
      steps: of its training.
      announce: gets lines for people.

    Returns:
      Whether its figures are there: not if another process is at work on it.

    Raises:
      JobFailed: a command failed; the log file has all that it printed.
      Stopped: a signal came.
    """
    if job.metrics(steps) is not None:
        return True
    make_folder(job.workdir.parent)
    with (job.workdir.parent / f"seed-{job.seed}.lock").open("a") as lock:
        if not try_lock(lock):
            announce(f"{job.name}: another process is at it")
            return False
        started = time.time()
        try:
            _run(job, job.train_command)
            _run(job, ["scripts/evaluate.py", "--checkpoint", str(job.workdir)])
        finally:
            _note(job, started)
    if job.metrics(steps) is None:
        raise JobFailed(f"no figures of step {steps} in {job.metrics_file}; see {job.log_file}")
    return True


def minutes_so_far(folder: Path) -> dict[str, float]:
    """What each job has taken in all its sittings, by its run directory's name within the study."""
    minutes: dict[str, float] = {}
    for line in read_text(folder / JOBS_FILE).splitlines() if (folder / JOBS_FILE).is_file() else []:
        entry = json.loads(line)
        minutes[entry["run"]] = minutes.get(entry["run"], 0.0) + entry["minutes"]
    return minutes


def _note(job: Job, started: float) -> None:
    entry = {
        "run": str(job.workdir.relative_to(job.folder / "runs")),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
        "minutes": round((time.time() - started) / 60, 2),
    }
    with (job.folder / JOBS_FILE).open("a") as file:  # one short write a line, which several processes may do
        file.write(json.dumps(entry) + "\n")


def _run(job: Job, command: list[str]) -> None:
    """Runs a command to its end, and passes on the signals that ask for one.

    A training that was asked to end saves a checkpoint and ends with status 0, as one does that has all its steps.
    """
    with job.log_file.open("ab") as log, _signals() as received:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPTS.parent / command[0]), *command[1:]],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes once, from here
        )
        asked = False
        while process.poll() is None:
            if received and not asked:
                process.send_signal(signal.SIGTERM)
                asked = True
            time.sleep(0.1)
    if asked or received:
        raise Stopped
    if process.returncode:
        lines = job.log_file.read_text(errors="replace").splitlines()
        reason = next((line for line in reversed(lines) if line.startswith("error:")), f"see {job.log_file}")
        raise JobFailed(f"{command[0]} ended with status {process.returncode}: {reason}")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in a list instead of ending the process."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: received.append(number)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def all_jobs(rows: Iterable[Row], seeds: int, folder: Path, settings: Settings) -> list[Job]:
    """Every training of a study: all rows of the first seed, then of the next, so that a whole table comes early."""
    return [Job(row, seed, folder, settings) for seed in range(seeds) for row in rows]
