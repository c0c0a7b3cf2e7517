"""Runs beside each other, and the command that prints and draws them."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from amodal_jax.errors import ConfigError
from amodal_jax.visualization.compare_runs import evaluated_figures, table

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_runs.py"


@pytest.fixture
def runs(tmp_path):
    """Two runs, of which one was evaluated twice."""
    for name, figures in {"long": {50: 0.2, 100: 0.41}, "short": {50: 0.3}}.items():
        folder = tmp_path / name
        folder.mkdir()
        lines = [{"step": step, "loss": 1.0} for step in range(10, 101, 10)]
        lines += [{"step": step, "amodal/AP50": value} for step, value in figures.items()]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [tmp_path / "long", tmp_path / "short"]


def test_a_line_for_each_step_and_a_column_for_each_run(runs):
    figures = evaluated_figures(runs, "amodal/AP50")
    assert figures == {"long": {50: 0.2, 100: 0.41}, "short": {50: 0.3}}
    assert [line.split() for line in table(figures).splitlines()] == [
        ["step", "long", "short"],
        ["50", "20.0", "30.0"],
        ["100", "41.0"],
    ]


def test_runs_of_one_name_go_by_their_paths(runs, tmp_path):
    twin = tmp_path / "other" / "long"
    twin.parent.mkdir()
    twin.symlink_to(runs[1], target_is_directory=True)  # the name that is resolved is the run's own
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "long"
    copy.mkdir()
    (copy / "metrics.jsonl").write_text((runs[0] / "metrics.jsonl").read_text())
    assert list(evaluated_figures([runs[0], twin], "amodal/AP50")) == ["long", "short"]
    assert list(evaluated_figures([runs[0], copy], "amodal/AP50")) == [str(runs[0]), str(copy)]


def test_what_has_no_such_figure_is_named(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere: no run directory"):
        evaluated_figures([tmp_path / "nowhere"], "amodal/AP50")
    with pytest.raises(ConfigError, match=r"long/metrics\.jsonl has no box/AP, but of evaluations amodal/AP50;"):
        evaluated_figures(runs, "box/AP")


def test_the_command_prints_and_draws(runs, tmp_path):
    command = [sys.executable, str(SCRIPT), *map(str, runs), "--out", str(tmp_path / "pictures" / "curves.svg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "41.0" in done.stdout
    drawing = ElementTree.parse(tmp_path / "pictures" / "curves.svg").getroot()
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    refused = subprocess.run([*command, "--figure", "x"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
