"""What SLURM's srun and Open MPI's mpirun say to a process that they start, in its environment."""

import dataclasses
import re
from collections.abc import Mapping

_SLURM_REPEATED = re.compile(r"(\d+)(?:\(x(\d+)\))?")  # "2(x3)" are three nodes of two tasks


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a process was started."""

    command: str  # that started it
    tasks: int  # processes that were started together, this one included
    tasks_on_node: int  # those of them on this machine
    gpus_are_bound: bool  # each task sees no other GPUs than its own


def find_launch(environment: Mapping[str, str]) -> Launch | None:
    """How this process was started; None where it was by neither command.

    A batch script of SLURM, which runs once whatever tasks its job has room for, is not started by srun.
    """
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        nodes = [
            int(tasks)
            for tasks, repeated in _SLURM_REPEATED.findall(environment["SLURM_STEP_TASKS_PER_NODE"])
            for _ in range(int(repeated or 1))
        ]
        return Launch(
            command="srun",
            tasks=int(environment["SLURM_STEP_NUM_TASKS"]),
            tasks_on_node=nodes[int(environment["SLURM_NODEID"])],
            gpus_are_bound="SLURM_GPUS_PER_TASK" in environment,
        )
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return Launch(
            command="mpirun",
            tasks=int(environment["OMPI_COMM_WORLD_SIZE"]),
            tasks_on_node=int(environment["OMPI_COMM_WORLD_LOCAL_SIZE"]),
            gpus_are_bound=False,
        )
    return None
