"""H100s to compile for that are not there, from the compiler that JAX's package for NVIDIA GPUs holds.

The compiler is a library of the package `jax-cuda12-pjrt`. It needs no driver to compile for a card that is described
to it, `h100.txtpb`. JAX itself does not see these devices: nothing can run on them.
"""

import functools
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import jax
from jaxlib import xla_client

from amodal_jax.errors import ConfigError

PACKAGE = "jax-cuda12-pjrt"
COMPILER_OPTIONS = {"xla_gpu_autotune_level": 0}
"""Which of several kernels is the fastest is tried on the card; without one, the compiler's own choice is taken."""


def h100_devices(count: int, folder: Path | None = None) -> list[jax.Device]:
    """So many H100s of one machine, as `devices` of what is lowered and compiled for them.

    Args:
      count: of cards.
      folder: into which the package was installed, by pip's `--target`; None: among the installed packages.

    Raises:
      ConfigError: the package is not there.
    """
    description = Path(__file__).with_name("h100.txtpb").read_text()
    topology: Any = xla_client.make_c_api_device_topology(
        _compiler(_library(folder)), "h100", topology=f"1x1x{count}", target_config=description
    )
    return topology._make_compile_only_devices()


def compile_for_devices(lowered: Any) -> Any:
    """Compiled, and not kept for a later start: what is kept can only be read for devices that are there."""
    kept = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        return lowered.compile(compiler_options=COMPILER_OPTIONS)
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)


def _library(folder: Path | None) -> Path:
    """The compiler's file."""
    version = importlib.metadata.version("jaxlib")
    install = f"python -m pip install --no-deps --target DIR {PACKAGE}=={version}, and give --plugin DIR"
    path = sys.path if folder is None else [str(folder)]
    found = list(importlib.metadata.distributions(name=PACKAGE, path=path))
    if not found:
        where = "among the installed packages" if folder is None else f"in {folder}"
        raise ConfigError(f"h100-program needs the package {PACKAGE}, which is not {where}: {install}")
    if found[0].version != version:
        raise ConfigError(f"{PACKAGE} is {found[0].version}, and jaxlib {version}, which it has to be like: {install}")
    (library,) = Path(str(found[0].locate_file("jax_plugins"))).glob("xla_cuda*/xla_cuda_plugin.so")
    return library


@functools.cache
def _compiler(library: Path) -> Any:
    """The library, loaded: once in a process."""
    compiler = xla_client.load_pjrt_plugin_dynamically("cuda", str(library))
    xla_client.initialize_pjrt_plugin("cuda")
    return compiler
