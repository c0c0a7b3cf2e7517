import json
import struct

import pytest

from amodal_jax.runs.metric_writer import MetricWriter, logged_figures
from tests.helpers.full_disk import files_limited_to


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_and_events_are_written(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    writer.write(2, {"loss": 1.5, "det/AP": 0.25})
    assert lines(tmp_path) == [{"step": 2, "loss": 1.5, "det/AP": 0.25}]  # before it is closed: others read along
    writer.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss" in content
    assert struct.pack("<f", 1.5) in content


def test_going_on_takes_back_what_came_after_the_checkpoint(tmp_path):
    first = MetricWriter(tmp_path, 0)
    for step in range(1, 6):
        first.write(step, {"loss": float(step)})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[]\n{"step": 6, "lo')  # where the machine died
    second = MetricWriter(tmp_path, 3)
    second.write(4, {"loss": 40.0})
    second.close()
    assert [line["loss"] for line in lines(tmp_path)] == [1.0, 2.0, 3.0, 40.0]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    with files_limited_to(1000):
        with pytest.raises(OSError, match="File too large") as error:
            writer.write(1, {f"loss_{index}": 0.5 for index in range(100)})
        with pytest.raises(OSError, match="File too large"):
            writer.close()
    assert error.value.filename == str(tmp_path / "metrics.jsonl")


def test_what_was_logged_of_a_step_is_found(tmp_path):
    assert logged_figures(tmp_path, 2) == {}
    writer = MetricWriter(tmp_path, 0)
    for step, figures in ((2, {"loss": 1.5}), (2, {"det/AP": 0.25}), (3, {"loss": 1.0})):
        writer.write(step, figures)
    writer.close()
    assert logged_figures(tmp_path, 2) == {"loss": 1.5, "det/AP": 0.25}
    assert logged_figures(tmp_path, 1) == {}
