import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amodal_jax.cli.command_line import join_processes, run
from amodal_jax.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]


def ends_with(main, capsys) -> tuple[int, str]:
    usual = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as error:
        run(main)
    assert signal.getsignal(signal.SIGTERM) is usual
    return error.value.code, capsys.readouterr().err


def raising(error):
    def main():
        raise error

    return main


def test_a_script_ends_with_what_it_returns(capsys):
    assert ends_with(lambda: None, capsys) == (0, "")
    assert ends_with(lambda: 3, capsys) == (3, "")


def test_what_the_user_can_mend_is_one_line(capsys, tmp_path):
    assert ends_with(raising(DataError("a.json:\n  no  json")), capsys) == (1, "error: a.json: no json\n")
    status, text = ends_with(lambda: (tmp_path / "absent").read_bytes(), capsys)
    assert (status, text) == (1, f"error: {tmp_path}/absent: No such file or directory\n")
    (tmp_path / "file").touch()
    status, text = ends_with(lambda: (tmp_path / "file").mkdir(), capsys)
    assert (status, text) == (
        1,
        f"error: {tmp_path}/file: File exists; a folder is needed where a file is; name another place\n",
    )
    status, text = ends_with(lambda: [0] * 2**61, capsys)
    assert status == 1
    assert text.startswith("error: out of memory")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


def start(code: str, *, ready: str) -> subprocess.Popen:
    """A script in a session of its own, which has printed `ready`."""
    # A shell has what it runs in the background ignore Ctrl-C, these tests perhaps among it.
    heeds = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", heeds + code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline().strip() == ready
    return process


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_leaves_nothing_half_done(tmp_path, number, status, word):
    process = start(
        "import tempfile, time\n"
        "from amodal_jax.cli import command_line\n"
        "def main():\n"
        f"    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "command_line.run(main)\n",
        ready="ready",
    )
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (status, f"error: {word}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_lost_in_a_destructor(number):
    process = start(
        "import signal, time\n"
        "from amodal_jax.cli import command_line\n"
        "class Destroyed:\n"
        "    def __del__(self):\n"
        f"        signal.raise_signal({int(number)})\n"
        "def main():\n"
        "    print('ready', flush=True)\n"
        "    Destroyed()\n"
        "    time.sleep(20)\n"
        "command_line.run(main)\n",
        ready="ready",
    )
    _, errors = process.communicate(timeout=10)
    expected = {signal.SIGINT: (130, "error: interrupted\n"), signal.SIGTERM: (143, "error: terminated\n")}
    assert (process.returncode, errors) == expected[number]


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    code = "from amodal_jax.cli import command_line\ncommand_line.run(lambda: print('line\\n' * 100_000))\n"
    command = f"{sys.executable} -c {shlex.quote(code)} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, "line\n", "")


@pytest.mark.parametrize("after", [0.0, 0.2, 0.8])
def test_worker_processes_are_silent_when_interrupted(after):
    """Ctrl-C on a terminal reaches them too, while they start as well as while they work."""
    process = start(
        "import time\n"
        "from amodal_jax.cli import command_line\n"
        "from data.shared.worker_processes import ordered_map\n"
        "def main():\n"
        "    with ordered_map(2, chunk_size=1) as map_in_order:\n"
        "        print('ready', flush=True)\n"
        "        list(map_in_order(time.sleep, [0.05] * 200))\n"
        "command_line.run(main)\n",
        ready="ready",
    )
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "error: interrupted\n")


@pytest.mark.parametrize(
    "named",
    [
        {"coordinator": "localhost:1234"},
        {"processes": 2},
        {"processes": 2, "process": 0},
        {"coordinator": "localhost:1234", "process": 1},
    ],
)
def test_processes_are_named_wholly_or_not_at_all(named):
    arguments = argparse.Namespace(
        distributed=False, **{"coordinator": None, "processes": None, "process": None} | named
    )
    with pytest.raises(ConfigError, match="--coordinator HOST:PORT, --processes N and --process I go together"):
        join_processes(arguments)
