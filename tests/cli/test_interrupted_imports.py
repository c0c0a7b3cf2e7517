"""Ctrl-C while a command still imports what it works with, which takes seconds."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "benchmark.py nms",
    "build_dataset.py kins --manual-dir absent",
    "compare_runs.py absent",
    "dataset.py check absent",
    "describe.py",
    "evaluate.py --checkpoint absent",
    "evaluate.py --results-amodal absent --dataset absent",
    "export.py --checkpoint absent --out made",
    "figure5.py absent absent.png --out made",
    "import_weights.py absent.npz --out made",
    "predict.py --checkpoint absent absent.png --out made",
    "report.py absent",
    "scene_flow.py absent --truth absent",
    "study.py table4 --dataset absent",
    "train.py asn_tiny --workdir made",
]
# The last ends as well where an exception would be lost, as in a callback of the garbage collector.
SLOW_MODULE = """
import time
print("importing", flush=True)
try:
    time.sleep(60)
except BaseException as error:
    print("lost:", repr(error))
time.sleep(60)
"""


def interrupted(script, arguments, slow_module, folder, number=signal.SIGINT):
    """How a script ends that gets a signal while it imports a module: exit status and output."""
    (folder / f"{slow_module}.py").write_text(SLOW_MODULE)
    # A shell has what it runs in the background ignore Ctrl-C, these tests perhaps among it.
    heeds = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", heeds, sys.executable, str(script), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "importing\n", process.stderr.read()
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, output, errors


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_in_a_line(command, tmp_path):
    name, *arguments = command.split()
    found = interrupted(ROOT / "scripts" / name, arguments, "numpy", tmp_path)
    assert found == (130, "", "error: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["numpy.py"]


@pytest.mark.parametrize("command", ["evaluate.py --checkpoint absent", "train.py asn_tiny --workdir made"])
def test_so_it_does_while_tensorflow_is_imported(command, tmp_path):
    name, *arguments = command.split()
    found = interrupted(ROOT / "scripts" / name, arguments, "tensorflow", tmp_path)
    assert found == (130, "", "error: interrupted\n")


def test_an_end_that_is_asked_for_is_said_likewise(tmp_path):
    found = interrupted(ROOT / "scripts" / "describe.py", [], "numpy", tmp_path, signal.SIGTERM)
    assert found == (143, "", "error: terminated\n")


def test_the_script_of_an_export_ends_in_a_line(tmp_path):
    shutil.copy(ROOT / "amodal_jax" / "export_runner.py", tmp_path / "run.py")
    assert interrupted(tmp_path / "run.py", ["a.npy", "--out", "made"], "numpy", tmp_path) == (
        130,
        "",
        "error: interrupted\n",
    )


def test_every_command_is_tried():
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "__init__.py"}
    assert scripts == {command.split()[0] for command in COMMANDS}
