"""Set-up of every test process: shapes checked at run time, eight simulated devices, a compilation cache."""

import ctypes
import gc
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Set before JAX and TensorFlow are imported. The suite is about results, which the CPU gives everywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)

# How long an example takes depends on what JAX has compiled and on what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Left installed for the life of the process, so that whichever test first imports a module gets the checked one.
install_import_hook("amodal_jax", "beartype.beartype")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Drops what a file's tests have had JAX compile, as a process would otherwise grow with every file that it runs.

    What the next file compiles again comes out of the cache on disk.
    """
    result = yield
    if nextitem is None or nextitem.path != item.path:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what is freed otherwise
        import resource, os as _os

        rss = int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**30
        open("/tmp/d/rss.log", "a").write(
            f"{_os.getpid()} {item.path.relative_to(ROOT)} now {rss:.2f} peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}\n"
        )
    return result


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of real images and annotations (``kitti`` and ``cocoa``), which is no part of the repository."""
    folder = Path(os.environ.get("AMODAL_JAX_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}; name its folder in AMODAL_JAX_SAMPLE_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """A TFDS dataset of `tests.tiny_scenes`, written and built as users do."""
    from tests.tiny_scenes import build_tiny_dataset

    return build_tiny_dataset(tmp_path_factory.mktemp("tiny"))
