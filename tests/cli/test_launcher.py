"""What launchers say, and what `join_processes` makes of it."""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from amodal_jax.cli.command_line import add_process_arguments, join_processes
from amodal_jax.cli.launcher import find_launch
from amodal_jax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

# As srun sets it on the second of two nodes of eight tasks each.
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "16",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "11",
    "SLURM_LOCALID": "3",
}
ONE_A_NODE = SRUN | {
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
MPIRUN = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "16",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "8",
    "OMPI_COMM_WORLD_RANK": "11",
    "OMPI_COMM_WORLD_LOCAL_RANK": "3",
}
# A batch script's own environment: its job has room for eight tasks, and it is none of them.
SBATCH = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


# Joins for real, as the only process of each case's "cluster", and prints which GPUs JAX would take.
JOIN = """
import argparse, json, os, sys
import jax
from amodal_jax.cli.command_line import add_process_arguments, join_processes
parser = argparse.ArgumentParser()
add_process_arguments(parser)
usual = dict(os.environ)
for environment, options in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update(usual | environment)
    jax.config.update("jax_cuda_visible_devices", "all")
    join_processes(parser.parse_args(options))
    print(jax.config.read("jax_cuda_visible_devices"))
    jax.distributed.shutdown()
"""


def visible_gpus(cases):
    """What JAX restricts itself to in each environment, with the options of `join_processes`."""
    process = subprocess.run(
        [sys.executable, "-c", JOIN, json.dumps(cases)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def join(environment, options, monkeypatch):
    for name in {*SRUN, *MPIRUN}:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    add_process_arguments(parser)
    join_processes(parser.parse_args(options))


def test_the_tasks_of_a_node_are_counted():
    uneven = SRUN | {"SLURM_STEP_TASKS_PER_NODE": "2(x3),1,4", "SLURM_STEP_NUM_TASKS": "11"}
    counts = [find_launch(uneven | {"SLURM_NODEID": str(node)}).tasks_on_node for node in range(5)]
    assert counts == [2, 2, 2, 1, 4]
    assert find_launch(MPIRUN).tasks_on_node == 8
    assert find_launch(SBATCH) is None


def test_one_process_of_a_node_has_all_its_gpus_and_several_have_one_each():
    by_hand = ["--processes", "1", "--process", "0", "--coordinator"]
    one_of_mpirun = MPIRUN | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    cases = [
        (SRUN, "3"),
        (ONE_A_NODE, "all"),
        (SRUN | {"SLURM_GPUS_PER_TASK": "1"}, "all"),
        (MPIRUN, "3"),
        (one_of_mpirun, "all"),
        ({}, "all"),
    ]
    ports = free_ports(len(cases) + 1)
    arguments = [
        (environment, [*by_hand, f"localhost:{port}"]) for (environment, _), port in zip(cases, ports, strict=False)
    ]
    # All by itself, as srun starts one process on one machine.
    alone = ONE_A_NODE | {"SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    alone |= {"SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "1", "JAX_COORDINATOR_PORT": str(ports[-1])}
    arguments.append((alone, ["--distributed"]))
    assert visible_gpus(arguments) == [*(gpus for _, gpus in cases), "all"]


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch):
    for environment, command in ((SRUN, "srun"), (MPIRUN, "mpirun")):
        with (
            monkeypatch.context() as patch,
            pytest.raises(ConfigError, match=f"{command} has started 16 processes, .* add --distributed"),
        ):
            join(environment, [], patch)
    one = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0"}
    for environment in ({}, SBATCH, SRUN | one):
        join(environment, [], monkeypatch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--distributed"], "cannot be joined .* name them with --coordinator HOST:PORT"),
        (["--coordinator", "node01", "--processes", "2", "--process", "1"], "cannot be joined"),
        (["--coordinator", "node01:1234", "--processes", "2", "--process", "2"], "cannot be joined"),
        (["--processes", "2", "--process", "1"], "go together"),
        (["--coordinator", "node01:1234"], "go together"),
    ],
)
def test_processes_that_cannot_be_joined_are_refused(monkeypatch, options, message):
    with pytest.raises(ConfigError, match=message):
        join({}, options, monkeypatch)
