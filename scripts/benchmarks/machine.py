"""What a figure was measured on."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from amodal_jax.cli.cores import usable_cores

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-cpu", "opencv-python-headless", "pycocotools")


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, and JAX' devices."""
    import jax

    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "devices": [device.device_kind for device in jax.local_devices()],
        "load_average": os.getloadavg(),
    }


def describe_versions() -> dict[str, str]:
    """Python and the packages that matter for speed, where installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _line(path: str, name: str) -> str | None:
    """The value of the first `name: value` in a file of such lines."""
    if not Path(path).is_file():
        return None
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
