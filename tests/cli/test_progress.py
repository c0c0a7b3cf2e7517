import itertools
import sys
import time

import pytest

from amodal_jax.cli.progress import ProgressLine, progress_bar


def give_time(monkeypatch):
    """A clock that goes on by a second each time it is read."""
    monkeypatch.setattr("tqdm.std.time", map(float, itertools.count()).__next__)


@pytest.mark.parametrize(
    ("images_per_second", "text"),
    [(4.0, "02:00"), (8 * 60 / 59.6, "01:00"), (0.1, "1:20:00"), (480 / 86_399, "23:59:59")],
)
def test_the_line_tells_rate_and_time_left(images_per_second, text, capsys):
    progress = ProgressLine(100, 8)
    progress.update(40, {"loss": 1.23456, "box": 0.5}, images_per_second)
    progress.close()
    rate = f"{images_per_second:.1f}"
    assert capsys.readouterr().err == f"step 40/100  loss 1.23  box 0.5  {rate} images/s  {text} left\n"


def test_without_a_rate_there_is_no_time_left(capsys):
    ProgressLine(100, 8).update(1, {"loss": 2.0}, None)
    assert capsys.readouterr().err == "step 1/100  loss 2\n"


def test_a_log_gets_a_line_now_and_then_and_the_last_one(capsys, monkeypatch):
    give_time(monkeypatch)
    progress = ProgressLine(60, 1)
    for step in range(1, 61):
        progress.update(step, {}, 1.0)
    progress.close()
    steps = [int(line.split()[1].split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert steps[0] == 1
    assert steps[-1] == 60
    assert 3 <= len(steps) <= 6
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(steps[:-1]))


def test_after_a_pause_the_line_goes_on(capsys):
    progress = ProgressLine(4, 1)
    for step in (1, 2):
        progress.update(step, {}, None)
    progress.close()
    progress.close()
    progress.update(3, {}, None)
    progress.close()
    assert capsys.readouterr().err.splitlines() == ["step 1/4", "step 2/4", "step 3/4"]


def test_a_terminal_has_one_line_that_is_rewritten(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    give_time(monkeypatch)
    progress = ProgressLine(1000, 1)
    for step in (998, 9, 1000):
        progress.update(step, {}, None)
    progress.close()
    drawn = capsys.readouterr().err
    assert drawn.count("\n") == 1
    assert [text.rstrip() for text in drawn.split("\r") if text.strip()][:3] == [
        "step 998/1000",
        "step 9/1000",
        "step 1000/1000",
    ]
    assert "\rstep 9/1000  \r" in drawn  # over what was longer


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_often_on_a_terminal_and_now_and_then_in_a_log(terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    for _ in progress_bar(range(40), description="images", unit="image"):
        time.sleep(0.03)
    drawn = capsys.readouterr().err.count("images:")
    assert drawn >= 3 if terminal else drawn == 2  # its beginning and its end


def test_a_log_has_lines(capsys):
    with progress_bar(total=2, description="images", unit="image") as bar:
        bar.update()
        bar.update()
    output = capsys.readouterr().err
    assert "\r" not in output
    assert [line.split("|")[0] for line in output.splitlines()] == ["images:   0%", "images: 100%"]
