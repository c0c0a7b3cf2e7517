import itertools
import sys
import time

import pytest

from amodal_jax.cli.progress import ProgressLine, duration, progress_bar


def seconds():
    """A clock that goes on by a second each time it is read."""
    return map(float, itertools.count()).__next__


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (61.0, "1:01"), (3600.0, "1:00:00"), (86_399.0, "23:59:59")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_line_tells_rate_and_time_left(capsys):
    ProgressLine(100, 8).update(40, {"loss": 1.23456, "box": 0.5}, 4.0)
    assert capsys.readouterr().err == "step 40/100  loss 1.23  box 0.5  4.0 images/s  2:00 left\n"


def test_without_a_rate_there_is_no_time_left(capsys):
    ProgressLine(100, 8).update(1, {"loss": 2.0}, None)
    assert capsys.readouterr().err == "step 1/100  loss 2\n"


def test_a_log_gets_a_line_now_and_then_and_the_last_one(capsys):
    progress = ProgressLine(60, 1, log_seconds=10.0, clock=seconds())
    for step in range(1, 61):
        progress.update(step, {}, 1.0)
    progress.close()
    steps = [int(line.split()[1].split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert steps == [1, 11, 21, 31, 41, 51, 60]


def test_a_terminal_has_one_line_that_is_rewritten(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = ProgressLine(1000, 1, clock=seconds())
    for step in (998, 9, 1000):
        progress.update(step, {}, None)
    progress.close()
    assert capsys.readouterr().err == "\rstep 998/1000\rstep 9/1000  \rstep 1000/1000\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_often_on_a_terminal_and_now_and_then_in_a_log(terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    for _ in progress_bar(range(40), description="images", unit="image"):
        time.sleep(0.03)
    drawn = capsys.readouterr().err.count("images:")
    assert drawn >= 3 if terminal else drawn == 2  # its beginning and its end
