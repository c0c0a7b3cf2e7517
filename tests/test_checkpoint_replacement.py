"""At no moment is a run without its checkpoint, while another one of the same kind is written or takes its place."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amodal_jax.checkpoint import CheckpointWriter, best_evaluation, load_variables, run_of
from tests.interrupted_save import SCORE, save
from tests.micro import micro_config

ROOT = Path(__file__).resolve().parents[1]


def program(how, run, kind, step, out):
    arguments = [sys.executable, "-m", "tests.interrupted_save", how, str(run), kind, str(step), str(out)]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return sorted(out.iterdir(), key=lambda place: int(place.name)), finished.stdout


def score_of(place, kind):
    """That of a run's checkpoint, by all that reads it."""
    config, variables = load_variables(place, kind=kind)
    assert config == micro_config()
    values = set(variables["params"]["w"].tolist())
    assert len(values) == 1
    (score,) = values
    if kind == "best":
        assert best_evaluation(place) == (micro_config(), {SCORE: score})
    return score


def kept(place, kind):
    return sorted(path.name for path in (place / "checkpoints" / kind).iterdir())


@pytest.fixture
def run(tmp_path):
    """With a checkpoint of step 5, of either kind."""
    for kind in ("last", "best"):
        save(tmp_path / "run", kind, 5, 1.0)
    return tmp_path / "run"


@pytest.mark.parametrize(("kind", "step"), [("best", 5), ("best", 7), ("last", 5)])
def test_a_process_that_is_killed_at_any_moment_leaves_a_checkpoint(run, tmp_path, kind, step):
    places, _ = program("copy", run, kind, step, tmp_path / "moments")
    scores = [score_of(place, kind) for place in places]
    assert scores[0] == 1.0
    assert scores[-1] == 2.0
    assert scores == sorted(scores)  # once the new one is there, it stays
    seen = set()
    for place, score in zip(places, scores, strict=True):
        folder = place / "checkpoints" / kind
        if step == 5:  # by its own name, too
            assert load_variables(folder / "5")[1]["params"]["w"].tolist() == [score] * 3
            assert run_of(folder / "5") == (place, kind)
        # The next process tidies up.
        names = frozenset(path.relative_to(place) for path in folder.parent.glob("*/*"))
        if names in seen:
            continue
        seen.add(names)
        CheckpointWriter(place, kind, micro_config()).close()
        assert score_of(place, kind) == score
        assert kept(place, kind) in (["5"], ["7"], ["5", "7"])
        assert {path.name for path in folder.parent.iterdir()} == {"last", "best"}
    assert len(seen) > 3


@pytest.mark.parametrize("how", ["fail", "fail-once"])
def test_a_write_that_fails_at_any_moment_leaves_a_checkpoint(run, tmp_path, how):
    places, output = program(how, run, "best", 5, tmp_path / "moments")
    assert len(places) > 10
    assert score_of(places[0], "best") == 1.0
    assert score_of(places[-1], "best") == 2.0
    for place in places:
        assert score_of(place, "best") in (1.0, 2.0)
        assert how == "fail" or "5" in kept(place, "best")  # put back at once, where that can be done
    assert (
        "best: a checkpoint could not be written (No space left on device); the newest good one is of step 5" in output
    )


def test_who_reads_while_checkpoints_are_replaced_always_finds_one(run):
    stop, failures, found = threading.Event(), [], []

    def read():
        while not stop.is_set():
            try:
                found.append(load_variables(run, kind="best")[1]["params"]["w"][0])
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for score in (2.0, 3.0, 4.0):
        save(run, "best", 5, score)
    stop.set()
    reader.join()
    assert not failures
    assert found == sorted(found)
    assert len(found) > 3
