"""A network's parameters as a safetensors file, each array under its path: `params/backbone/layer1_0/conv1/kernel`."""

from pathlib import Path

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from amodal_jax.errors import CheckpointError
from amodal_jax.network import Variables
from amodal_jax.structures import Array

FILE_NAME = "parameters.safetensors"

_SEPARATOR = "/"
_STEP = "step"  # of the training, in the file's metadata


def by_path(variables: Variables) -> dict[str, Array]:
    """The arrays (or shapes) of nested variables by their paths."""
    return traverse_util.flatten_dict(variables, sep=_SEPARATOR)


def from_paths(arrays: dict[str, Array]) -> Variables:
    """What `by_path` was given."""
    return traverse_util.unflatten_dict(arrays, sep=_SEPARATOR)


def write_parameters(path: Path, variables: Variables, step: int) -> None:
    """Writes the variables and the step of training that they are of.

    Raises:
      OSError: the disk is full or the folder cannot be written.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in by_path(jax.device_get(variables)).items()}
    path.write_bytes(safetensors.numpy.save(arrays, metadata={_STEP: str(step)}))


def read_parameters(path: Path, like: Variables) -> tuple[Variables, int]:
    """The variables (on the host) and the step in a file.

    Args:
      path: the file.
      like: arrays or shapes that the file's must match.

    Raises:
      CheckpointError: the file is missing, truncated or no safetensors file, or its arrays have other names, shapes or
        types than `like`.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
            step = (file.metadata() or {}).get(_STEP, "0")
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy or export it again") from error
    wanted = by_path(like)
    for name in sorted(wanted.keys() | found.keys()):
        here, there = _describe(wanted.get(name)), _describe(found.get(name))
        if here != there:
            raise CheckpointError(
                f"{path}: does not fit the configuration: {name} is {there} in the file and {here} in the network"
            )
    return from_paths(found), int(step)


def _describe(array: Array | None) -> str:
    return "absent" if array is None else f"{array.dtype} {tuple(array.shape)}"
