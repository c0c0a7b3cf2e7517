"""What processes tell each other, tried with two real ones."""

import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amodal_jax import errors
from amodal_jax.parallel import processes

ROOT = Path(__file__).resolve().parents[1]

_START = """
import json, resource, sys
import jax
from amodal_jax.parallel.processes import any_process, from_first_process, gather_on_first_process, on_first_process
index = int(sys.argv[2])
jax.distributed.initialize(sys.argv[1], 2, index)
"""


def in_two_processes(program: str) -> list[subprocess.CompletedProcess]:
    """Runs a program, after `_START`, as process 0 and process 1 of one job."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        address = f"localhost:{server.getsockname()[1]}"
    command = [sys.executable, "-c", _START + program, address]
    running = [
        subprocess.Popen([*command, str(index)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for index in range(2)
    ]
    try:
        # At once: a process whose output nobody reads holds up the other one.
        with ThreadPoolExecutor() as pool:
            outputs = list(pool.map(lambda process: process.communicate(timeout=300), running))
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(running, outputs, strict=True)
    ]


def answers(program: str) -> list:
    """What the two processes print last, as json."""
    finished = in_two_processes(program)
    for process in finished:
        assert process.returncode == 0, process.stderr
    return [json.loads(process.stdout.splitlines()[-1]) for process in finished]


def test_one_process_alone_is_the_first():
    assert processes.is_first_process()
    assert processes.gather_on_first_process([1, "a"]) == [1, "a"]
    assert processes.from_first_process(lambda: (1, 2)) == (1, 2)
    assert processes.on_first_process(lambda: None) is None
    assert [processes.any_process(flag) for flag in (False, True)] == [False, True]
    with pytest.raises(errors.ConfigError, match="wrong"):
        processes.on_first_process(lambda: fail(errors.ConfigError("wrong")))


def fail(error):
    raise error


def test_the_first_process_gets_and_gives():
    first, second = answers("""
print(json.dumps({
    "flags": [any_process(False), any_process(index == 1), any_process(True)],
    "gathered": gather_on_first_process([[index, 2**60 + index, "ä" * 200_000 * index]]),
    "nothing": gather_on_first_process([]),
    "given": from_first_process(lambda: {"a": 0.1 + 0.2, "whose": index, "long": "x" * 300_000}),
    "kept": on_first_process(lambda: index + 5),
}))
""")
    assert first["gathered"] == [[0, 2**60, ""], [1, 2**60 + 1, "ä" * 200_000]]
    assert second["gathered"] == []
    assert (first["kept"], second["kept"]) == (5, None)
    for answer in (first, second):
        assert answer["flags"] == [False, True, True]
        assert answer["nothing"] == []
        assert answer["given"] == {"a": 0.1 + 0.2, "whose": 0, "long": "x" * 300_000}


def test_an_error_of_the_first_process_is_everybodys():
    first, second = answers("""
from amodal_jax.errors import AmodalJaxError, ConfigError
raised = []
for error in (ConfigError("of classes"), KeyError("key")):
    def work():
        assert index == 0
        raise error
    try:
        on_first_process(work)
    except Exception as found:
        raised.append([type(found).__name__, str(found)])
print(json.dumps(raised))
""")
    assert first == [["ConfigError", "of classes"], ["KeyError", "'key'"]]
    assert second == [
        ["ConfigError", "of classes"],
        ["AmodalJaxError", "the first process has failed (KeyError: 'key')"],
    ]


def test_what_is_gathered_takes_memory_on_the_first_process_alone():
    """An evaluation's own way, with what is found in its place: 120 MB of it, half of each process."""
    first, second = answers("""
from amodal_jax.evaluation.detect import join_results
from amodal_jax.evaluate import _gathered

def found(batches):
    for batch in range(batches):
        yield [(2 * batch + index, {"det": [{"image_id": batch, "text": "x" * 100_000}] * 3})]

def peak():  # of this program; that of getrusage begins with what the process had that started it
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

join_results(_gathered(found(16), lambda: False))
before = peak()
results, image_ids = join_results(_gathered(found(200), lambda: False))
print(json.dumps([peak() - before, len(image_ids), len(results.get("det", ()))]))
""")
    assert first[1:] == [400, 1200]
    assert first[0] > 50
    assert second[1:] == [0, 0]
    assert second[0] < 20
