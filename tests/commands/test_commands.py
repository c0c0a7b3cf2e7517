"""The command `amodal-jax` in processes of its own, which can import the package and nothing else of a checkout."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amodal_jax import __version__
from amodal_jax.commands.main import COMMANDS
from amodal_jax.config_json import to_json
from amodal_jax.runs.directory import read_config, write_config
from tests.helpers.documents import ROOT
from tests.helpers.micro import micro_config
from tests.helpers.stand_ins import StandIns

PROGRAM = "import sys; sys.argv[0] = 'amodal-jax'; from amodal_jax.commands.main import main; main()"


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> StandIns:
    return StandIns(tmp_path_factory.mktemp("stand_ins"))


@pytest.fixture
def away(tmp_path, monkeypatch) -> Path:
    """A folder to work in, from which `configs`, `data` and `scripts` cannot be imported."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "amodal_jax").symlink_to(ROOT / "amodal_jax")
    monkeypatch.setenv("PYTHONPATH", str(library))
    folder = tmp_path / "away"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def typed(*words: object) -> subprocess.CompletedProcess:
    """What `amodal-jax` says to a command line."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def output(*words: object) -> str:
    done = typed(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_else_of_the_checkout_is_there(away):
    program = "import importlib.util as u; print([u.find_spec(n) is None for n in ('configs', 'data', 'scripts')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[True, True, True]\n"


def test_help_names_every_command_and_explains_its_fields(away):
    text = output("--help")
    for name, command in COMMANDS.items():
        assert f"\n    {name}" in text
        help_of_it = output(name, "--help")
        assert help_of_it.startswith(f"usage: amodal-jax {name} [-h]")
        assert ("fields of the configuration" in help_of_it) == bool(command.FIELDS)
    assert output("--version") == f"amodal-jax {__version__}\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "amodal-jax: error: the following arguments are required: COMMAND"),
        (["trane"], 2, "amodal-jax: error: argument COMMAND: invalid choice: 'trane'"),
        (["predict", "a.png", "--checkpoint", "b", "--out", "c", "--data.flip", "false"], 2, "unrecognized arguments"),
        (["train", "asn_tiny", "--workdir", "run"], 1, 'error: unknown configuration "asn_tiny": name a .py or .json'),
        (["describe"], 1, "error: name a CONFIG: a .py or .json file, or a run directory"),
        (["describe", "absent.json"], 1, "error: absent.json: there is no such file"),
        (["report", "absent"], 1, "error: absent: no run directory"),
        (["compare", "absent"], 1, "error: absent: no run directory"),
        (["import-weights", "absent.pth", "--out", "made"], 1, "error: absent.pth"),
        (["evaluate"], 1, "error: name either a --checkpoint, or result files"),
        (["evaluate", "--checkpoint", "x", "--train.steps", "1"], 1, "error: --train.steps cannot be set"),
    ],
)
def test_an_error_is_one_line(away, words, status, message):
    done = typed(*words)
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert status == 2 or len(done.stderr.splitlines()) == 1
    assert not list(away.iterdir())


def test_a_run_is_described_compared_and_shown(away):
    write_config(Path("run"), micro_config())
    Path("run/metrics.jsonl").write_text('{"step": 4, "loss": 2.0, "amodal/AP50": 0.5}\n')
    assert "box_head" in output("describe", "run")
    modules = output("describe", "run/config.json", "--depth", "1", "--model.heads.fc-channels", "24")
    assert "ResNet" in modules
    assert "float32[16,24]" in modules
    assert "Total Parameters" in modules
    assert output("compare", "run", "--out", "curves.svg").endswith("curves: curves.svg\n")
    assert Path("curves.svg").read_text().startswith("<svg")
    page = Path(output("report", "run", "--images", "0").strip()).read_text()
    assert "amodal-jax evaluate --checkpoint RUN" in page
    assert "python scripts/evaluate.py --checkpoint RUN" in page


def test_weights_are_imported(away, stand_ins):
    stand_ins.weights(Path("weights.npz"))
    assert output("import-weights", "weights.npz", "--out", "run").endswith("written to run\n")
    assert read_config(Path("run")) is not None


@pytest.mark.slow
def test_a_file_is_trained_and_its_run_used(away, stand_ins):
    stand_ins.run(Path("other"))
    config = read_config(Path("other"))
    train = dataclasses.replace(config.train, steps=1, decay_steps=(), log_every=1, evaluate_every=0)
    Path("mine.json").write_text(to_json(dataclasses.replace(config, train=train)))
    stand_ins.images(Path("images"))
    output("train", "mine.json", "--workdir", "run", "--data.flip", "false")
    assert read_config(Path("run")).data.flip is False
    output("train", "run", "--workdir", "run")  # the run's own configuration, with which it is at its end
    output("evaluate", "--checkpoint", "run", "--evaluation.batch-size", "2")
    assert json.loads(Path("run/evaluation/metrics.json").read_text())["checkpoint"]["step"] == 1
    output("export", "--checkpoint", "run", "--out", "exported", "--platforms", "cpu")
    output("predict", "--checkpoint", "exported", "images", "--out", "found")
    assert len(list(Path("found").glob("*.json"))) == len(os.listdir("images"))
