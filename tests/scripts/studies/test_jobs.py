"""Jobs with commands that are stand-ins: what is skipped, what goes on, what fails, and what a signal does."""

import json
import os
import signal
import threading
import time

import pytest

from amodal_jax.errors import ConfigError
from amodal_jax.files.lock import try_lock
from scripts.studies import jobs as jobs_module
from scripts.studies.jobs import JobFailed, Settings, Stopped, all_jobs, keep_settings, minutes_so_far, run_job
from scripts.studies.tables import Row

SETTINGS = Settings("asn_tiny", "/data/kins", None, ("--train.steps", "7"))
ROWS = [Row("first", "First", (1.0,)), Row("second", "Second", (2.0,), ("--model.mlc.enabled", "false"))]
SCRIPT = """import json, pathlib, sys
arguments = sys.argv
run = pathlib.Path(arguments[arguments.index("--workdir" if "--workdir" in arguments else "--checkpoint") + 1])
print(pathlib.Path(arguments[0]).name, *arguments[1:])
"""
TRAIN = SCRIPT + "run.mkdir(exist_ok=True, parents=True)"
EVALUATE = (
    SCRIPT
    + """(run / "evaluation").mkdir()
(run / "evaluation/metrics.json").write_text(json.dumps({"checkpoint": {"step": 7}, "det/AP": 0.5}))
"""
)


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder of scripts in the place of the real ones."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "evaluate.py").write_text(EVALUATE)
    monkeypatch.setattr(jobs_module, "SCRIPTS", folder)
    return folder


@pytest.fixture
def jobs(tmp_path):
    return all_jobs(ROWS, 2, tmp_path / "study", SETTINGS)


def test_all_rows_of_a_seed_come_before_the_next_seed(jobs):
    assert [job.name for job in jobs] == ["first, seed 0", "second, seed 0", "first, seed 1", "second, seed 1"]


def test_a_job_is_what_a_user_would_type(scripts, jobs):
    assert run_job(jobs[3], 7)
    train, evaluate = jobs[3].log_file.read_text().splitlines()
    assert train == (
        f"train.py asn_tiny --workdir {jobs[3].workdir} --model.mlc.enabled false --train.steps 7 "
        "--data.directory /data/kins --train.seed 1"
    )
    assert evaluate == f"evaluate.py --checkpoint {jobs[3].workdir}"
    assert list(minutes_so_far(jobs[3].folder)) == ["second/seed-1"]


def test_what_is_done_is_skipped_and_what_is_of_fewer_steps_goes_on(scripts, jobs):
    run_job(jobs[0], 7)
    printed = jobs[0].log_file.read_text()
    assert run_job(jobs[0], 7)
    assert jobs[0].log_file.read_text() == printed
    assert jobs[0].metrics(9) is None


def test_a_failure_is_told_with_its_reason(scripts, jobs):
    (scripts / "train.py").write_text("import sys; print('error: no such dataset', file=sys.stderr); sys.exit(1)")
    with pytest.raises(JobFailed, match=r"train\.py ended with status 1: error: no such dataset"):
        run_job(jobs[0], 7)
    assert jobs[0].metrics(7) is None
    # And the same command goes on when it is mended.
    (scripts / "train.py").write_text(TRAIN)
    assert run_job(jobs[0], 7)


def test_an_evaluation_of_another_step_is_a_failure(scripts, jobs):
    with pytest.raises(JobFailed, match="no figures of step 8"):
        run_job(jobs[0], 8)


def test_another_process_at_work_is_left_alone(scripts, jobs):
    jobs[0].workdir.parent.mkdir(parents=True)
    said = []
    with (jobs[0].workdir.parent / "seed-0.lock").open("a") as lock:
        assert try_lock(lock)
        assert not run_job(jobs[0], 7, announce=said.append)
    assert said == ["first, seed 0: another process is at it"]
    assert not jobs[0].log_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_waited_for(scripts, jobs, number):
    """The training saves and ends with status 0; nothing is evaluated."""
    (scripts / "train.py").write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )

    def send_when_ready():
        while not (jobs[0].log_file.is_file() and "ready" in jobs[0].log_file.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=send_when_ready)
    sender.start()
    with pytest.raises(Stopped):
        run_job(jobs[0], 7)
    sender.join()
    assert jobs[0].log_file.read_text() == "ready\nsaved\n"
    assert signal.getsignal(number) == before


def test_a_study_keeps_to_its_settings(tmp_path):
    keep_settings(tmp_path, SETTINGS)
    keep_settings(tmp_path, SETTINGS)
    other = Settings("asn_tiny", "/data/kins", None, ("--train.steps", "8"))
    with pytest.raises(ConfigError, match=r"study\.json: this study has overrides .*'7'.*choose another --out"):
        keep_settings(tmp_path, other)
    assert json.loads((tmp_path / "study.json").read_text())["overrides"] == ["--train.steps", "7"]
