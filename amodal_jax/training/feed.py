"""Batches on their way to the devices.

Shape shorthand in this module: N local devices, b images a device.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from amodal_jax.canvas import check_input_canvas
from amodal_jax.config import Config
from amodal_jax.errors import DataError
from amodal_jax.parallel.devices import split_over_devices
from amodal_jax.structures import Batch

_PREFETCHED_BATCHES = 2


def on_devices(batches: Iterator[Batch], config: Config) -> Iterator[tuple[Batch, dict[str, Any] | None]]:
    """Batches with a device axis, on their way to the devices ahead of time, each with the data's position after it."""
    devices = jax.local_device_count()
    images = config.train.batch_size // jax.device_count()
    sharding = split_over_devices()
    queue: deque[tuple[Batch, dict[str, Any] | None]] = deque()
    for batch in batches:
        if len(batch.images) != devices * images:
            raise DataError(
                f"a batch of {len(batch.images)} images came where this process takes {devices * images}: "
                f"{images} for each of {devices} devices"
            )
        image_ids, sizes = np.asarray(batch.image_ids).tolist(), map(tuple, np.asarray(batch.sizes).tolist())
        check_input_canvas(zip(image_ids, sizes, strict=True), config.model.input)
        shaped = jax.tree.map(lambda array: array.reshape(devices, images, *array.shape[1:]), batch)
        position = batches.get_state() if hasattr(batches, "get_state") else None
        queue.append((jax.device_put(shaped, sharding), position))
        if len(queue) >= _PREFETCHED_BATCHES:
            yield queue.popleft()
    yield from queue
