"""Set-up of every test process: shapes checked at run time, eight simulated devices, a compilation cache."""

import ctypes
import gc
import os
import resource
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Set before JAX and TensorFlow are imported. The suite is about results, which the CPU gives everywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# LLVM's optimisations take most of the suite's time, and change what is compiled in its speed alone.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
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


# The files of tests, and the rooms of them, that compile networks, start processes or search for long: those that take
# longest first, which is the order in which they are run. All else is marked `fast`.
SLOW = (
    "test_train.py",
    "test_documents.py",
    "models/test_every_network.py",
    "test_evaluate.py",
    "weights/test_parity_torchvision.py",
    "runs/test_checkpoint.py",
    "models/test_detector_values.py",
    "test_export.py",
    "test_predict.py",
    "models/mask_heads",
    "models/test_detector.py",
    "runs/test_checkpoint_replacement.py",
    "scripts",
    "data/kins/test_damaged_json.py",
    "data/synthetic",
    "weights/test_convert.py",
    "weights/test_parity_detectron2.py",
    "input_pipeline",
    "visualization/test_report.py",
    "weights/test_transfer.py",
    "models",
    "cli/test_interrupted_imports.py",
    "test_predict_files.py",
    "test_export_runner.py",
    "parallel",
    "data/kins/test_odd_masks.py",
    "docs",
)

MUCH_MEMORY = 5 << 28  # bytes, 1.25 GiB
PEAKS = pytest.StashKey[dict[str, int]]()  # KiB, by process


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Drops what the tests of a file have had JAX compile, as a process would otherwise grow with every file.

    Within a file this is kept while there is little of it. What is needed again comes out of the cache on disk.
    """
    result = yield
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    if nextitem is None or nextitem.path != item.path or resident > MUCH_MEMORY:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # glibc would keep what is freed
    return result


def place_in_slow(path: Path) -> int | None:
    """Where in `SLOW` a file of tests is, or its room; None if it is a fast one."""
    inside = path.relative_to(ROOT / "tests")
    names = {place.as_posix() for place in (inside, *inside.parents)}
    return next((place for place, name in enumerate(SLOW) if name in names), None)


def pytest_ignore_collect(collection_path, config):
    """Leaves the slow files unimported where only the fast ones are asked for: TensorFlow alone takes seconds."""
    return True if config.option.markexpr == "fast" and place_in_slow(collection_path) is not None else None


def pytest_collection_modifyitems(items):
    """Marks the fast tests, and puts them behind the slow ones: a long file that began late would have all wait."""
    places = {path: place_in_slow(path) for path in {item.path for item in items}}
    for item in items:
        if places[item.path] is None:
            item.add_marker("fast")
    items.sort(key=lambda item: len(SLOW) if places[item.path] is None else places[item.path])


def pytest_configure(config):
    """A place for what the processes say of their size; and a look at whether what `SLOW` names is there."""
    if gone := [name for name in SLOW if not (ROOT / "tests" / name).exists()]:
        raise pytest.UsageError(f"SLOW in tests/conftest.py names what is not there: {', '.join(gone)}")
    config.stash[PEAKS] = {}


def pytest_sessionfinish(session):
    """Has a process of several tell the one that started it how large it was at its largest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = peak
    else:
        session.config.stash[PEAKS].setdefault("this process", peak)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Takes what a process says of its size."""
    node.config.stash[PEAKS][node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", 0)


def pytest_terminal_summary(terminalreporter, config):
    """Says how large the processes were, which are to stay under 2.5 GiB each."""
    peaks = ", ".join(f"{name} {peak / 2**20:.2f}" for name, peak in sorted(config.stash[PEAKS].items()))
    terminalreporter.write_line(f"peak memory, GiB: {peaks}")


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of real images and annotations (``kitti`` and ``cocoa``), which is no part of the repository."""
    folder = Path(os.environ.get("AMODAL_JAX_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}; name its folder in AMODAL_JAX_SAMPLE_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """A TFDS dataset of `tests.helpers.tiny_scenes`, written and built as users do."""
    from tests.helpers.tiny_scenes import build_tiny_dataset

    return build_tiny_dataset(tmp_path_factory.mktemp("tiny"))
