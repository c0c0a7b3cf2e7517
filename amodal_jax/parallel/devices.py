"""Where arrays lie on this process's devices."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def on_every_device() -> NamedSharding:
    """Whole on each device of this process."""
    return NamedSharding(_local_mesh(), PartitionSpec())


def split_over_devices() -> NamedSharding:
    """Shared out along the first axis."""
    return NamedSharding(_local_mesh(), PartitionSpec("batch"))


def _local_mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), "batch")
