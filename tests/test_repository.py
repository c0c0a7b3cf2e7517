"""What holds for the repository as a whole: the direction of imports, what is tracked, that every config loads."""

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import configs
from amodal_jax.build import build_detector
from amodal_jax.config import from_json, to_json

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_FILES = sorted((ROOT / "amodal_jax").rglob("*.py"))
DATA_FILES = sorted((ROOT / "data").rglob("*.py"))

# Each layer may import itself and those named after it.
LAYERS = {
    "amodal_jax/errors.py": (),
    "amodal_jax/text_file.py": ("errors",),
    "amodal_jax/config.py": ("errors", "text_file"),
    "amodal_jax/structures.py": ("errors",),
    "amodal_jax/crop_shape.py": (),
    "amodal_jax/ops": ("ops", "crop_shape", "errors"),
    "amodal_jax/losses.py": ("ops", "structures", "errors"),
    "amodal_jax/models": ("models", "losses", "ops", "structures", "errors"),
}
# Those that run a network, which the annotation formats must not need.
NETWORK = {"build", "models", "losses", "train", "detect", "evaluate", "predict", "checkpoint", "pretrained"}


def module_name(path: Path) -> str:
    """The dotted name under which the file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """The dotted name of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # "from amodal_jax import losses" imports a module, "from amodal_jax.errors import DataError" a name of one.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(name: str) -> str | None:
    """The part of amodal_jax that an imported name belongs to, such as "ops"; None outside of the package."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "amodal_jax" else None


def test_imports_are_read_from_the_syntax(tmp_path):
    source = tmp_path / "module.py"
    source.write_text(
        "import os.path\ndef f():\n    from amodal_jax import losses\n    from amodal_jax.ops.nms import nms\n"
    )
    assert list(imports(source)) == ["os.path", "amodal_jax.losses", "amodal_jax.ops.nms.nms"]
    assert [part(name) for name in imports(source)] == [None, "losses", "ops"]


@pytest.mark.parametrize("layer", LAYERS)
def test_lower_layers_do_not_import_higher_ones(layer):
    files = [path for path in PACKAGE_FILES if path.relative_to(ROOT).is_relative_to(layer)]
    assert files
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if part(name) is not None and part(name) not in LAYERS[layer]
    ]
    assert not upward


def test_the_package_needs_neither_its_scripts_nor_the_annotation_formats():
    outward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in PACKAGE_FILES
        for name in imports(path)
        if name.partition(".")[0] in {"benchmarks", "configs", "data", "scripts", "tests"}
    ]
    assert not outward


def test_annotation_formats_do_not_need_the_network():
    inward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in DATA_FILES
        for name in imports(path)
        if part(name) in NETWORK or name.partition(".")[0] in {"benchmarks", "configs", "scripts", "tests"}
    ]
    assert not inward


def test_the_dataset_tools_start_without_jax():
    """Its import takes longer than what most of them do, once more in each process that they start."""
    program = (
        f"import runpy, sys; runpy.run_path({str(ROOT / 'scripts' / 'dataset.py')!r}); print('jax' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.stdout == "False\n", finished.stderr


def test_the_package_runs_without_tensorflow_and_pytorch():
    """Imports every module but the input pipeline in a Python where neither framework can be imported."""
    modules = [module_name(path) for path in PACKAGE_FILES if path.name != "input_pipeline.py"]
    program = f"""
import importlib, sys
for absent in ("tensorflow", "tensorflow_datasets", "torch", "torchvision"):
    sys.modules[absent] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_other_frameworks_are_imported_where_they_are_needed_alone():
    """Reads the sources, so that an import within a function counts as well."""
    homes = {
        "tensorflow": "input_pipeline.py",
        "tensorflow_datasets": "input_pipeline.py",
        "torch": None,
        "torchvision": None,
    }
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in PACKAGE_FILES
        for name in imports(path)
        if name.partition(".")[0] in homes and path.name != homes[name.partition(".")[0]]
    ]
    assert not offenders


def test_tracked_files_are_small():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert tracked
    assert not [path for path in tracked if path.is_file() and path.stat().st_size > 2_000_000]


@pytest.mark.parametrize("name", configs.config_names())
def test_every_config_loads_builds_and_survives_json(name):
    config = configs.load_config(name)
    assert config.name == name
    assert from_json(to_json(config)) == config
    # Without class names of its own a configuration takes the dataset's.
    names = config.model.class_names or ("thing",)
    build_detector(dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=names)))
