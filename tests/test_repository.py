"""What holds for the repository as a whole: the direction of imports, what is tracked, that every config loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_FILES = sorted((ROOT / "amodal_jax").rglob("*.py"))
DATA_FILES = sorted((ROOT / "data").rglob("*.py"))

# The rooms of the package, which are its folders and the single files of its hall, and the others that each may import.
# A room that is named later may be imported by none that is named before.
PACKAGE_ROOMS = {
    "errors": set(),
    "classes": set(),
    "records": set(),
    "structures": set(),
    "occlusion": set(),
    "files": {"errors"},
    "cli": {"errors"},
    "ops": {"records"},
    "losses": {"structures"},
    "export_runner": {"files"},
    "masks": {"errors", "export_runner", "files", "records", "structures"},
    "parallel": {"errors"},
    "scene_flow": {"errors", "files"},
    "models": {"classes", "errors", "losses", "occlusion", "ops", "structures"},
    "config": {"errors", "models"},
    "config_json": {"cli", "config", "errors", "models"},
    "canvas": {"config", "errors", "ops"},
    "network": {"config", "errors", "losses", "models", "records", "structures"},
    "summary": {"config", "network"},
    "input_pipeline": {"config", "errors", "files", "masks", "records", "structures"},
    "runs": {"config", "config_json", "errors", "files", "network", "parallel", "structures"},
    "weights": {"classes", "config", "config_json", "errors", "files", "models", "network", "runs"},
    "evaluation": {
        *("canvas", "cli", "config", "errors", "files", "input_pipeline", "masks", "models", "network", "occlusion"),
        "structures",
    },
    "evaluate": {
        *("cli", "config", "errors", "evaluation", "files", "input_pipeline", "models", "network", "occlusion"),
        "parallel",
    },
    "predict": {"canvas", "config", "errors", "masks", "network", "runs", "structures", "weights"},
    "visualization": {
        *("config", "config_json", "errors", "evaluation", "files", "input_pipeline", "masks", "network", "runs"),
        *("occlusion", "structures"),
    },
    "iterations": {"cli", "errors", "files", "predict", "runs", "structures", "visualization"},
    "predict_files": {"cli", "errors", "files", "masks", "predict", "structures", "visualization"},
    "export": {"canvas", "config", "errors", "export_runner", "files", "network", "runs", "structures"},
    "training": {
        *("canvas", "cli", "config", "config_json", "errors", "evaluate", "evaluation"),
        *("files", "losses", "network", "parallel", "runs", "structures", "weights"),
    },
    "train": {
        *("config", "errors", "evaluation", "input_pipeline", "network", "parallel", "runs", "structures"),
        "training",
    },
    "__init__": {"predict", "structures"},
    "commands": {
        *("cli", "config", "config_json", "errors", "evaluate", "export", "files", "input_pipeline"),
        *("network", "predict", "predict_files", "runs", "summary", "train", "training", "visualization", "weights"),
    },
}
# The rooms of the data likewise. Formats and tools know the format of KINS and what is shared, and not each other, but
# for the few that are named.
DATA_GROUND = {
    "shared": set(),
    "kins": {"shared"},
    "commands": {"kins", "shared"},
    "orders": {"commands", "kins", "shared"},
}
NETWORK_FREE = {"classes", "cli", "errors", "files", "masks", "occlusion", "records", "visualization"}
"""The rooms of the package that the data may import: none that runs a network."""
DATA_NEIGHBOURS = {
    "d2sa": {"cocoa"},  # tells a file of COCOA from one of its own
    "kitti3d": {"kitti", "synthetic"},  # the solids that objects are
    "statistics": {"kitti"},
}


def module_name(path: Path) -> str:
    """The dotted name under which the file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """The dotted name of everything that a file imports, wherever in the file, but for the types' sake alone."""
    tree = ast.parse(path.read_text(), path)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # "from amodal_jax import losses" imports a module, "from amodal_jax.errors import DataError" a name of one.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """The room that a file of the package or of the data is in: a folder, or a file of the hall."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


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


def neighbours(files: list[Path], package: str) -> dict[str, dict[str, str]]:
    """For each room the other rooms of the package that it imports, and a file that does."""
    found: dict[str, dict[str, str]] = {}
    for path in files:
        others = found.setdefault(room(path), {})
        for name in imports(path):
            package_name, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package_name == package and other != room(path) and other != "__version__":
                others[other] = f"{path.relative_to(ROOT)} imports {name}"
    return found


def test_the_rooms_of_the_package_import_in_one_direction():
    names = list(PACKAGE_ROOMS)
    for name, others in PACKAGE_ROOMS.items():
        assert others <= set(names[: names.index(name)]), f"{name} is named before {others}"
    for name, others in neighbours(PACKAGE_FILES, "amodal_jax").items():
        assert name in PACKAGE_ROOMS, f"{name}: a room that the table does not have"
        outside = [text for other, text in others.items() if other not in PACKAGE_ROOMS[name]]
        assert not outside


def test_the_rooms_of_the_data_do_not_know_each_other():
    for name, others in neighbours(DATA_FILES, "data").items():
        if name in ("__init__", "tools"):  # the second names all of them
            continue
        allowed = DATA_GROUND.get(name, {*DATA_GROUND} | DATA_NEIGHBOURS.get(name, set()))
        outside = [text for other, text in others.items() if other not in allowed]
        assert not outside


def test_no_room_is_crowded():
    """Nor any file long: a reader finds a step by its file's name, and reads it at once."""
    for files in (PACKAGE_FILES, DATA_FILES):
        for folder in {path.parent for path in files}:
            inside = [path for path in files if path.parent == folder and path.name != "__init__.py"]
            limit = 17 if folder == ROOT / "amodal_jax" else 14
            assert len(inside) <= limit, f"{folder.relative_to(ROOT)} has {len(inside)} files"
        long = {
            str(path.relative_to(ROOT)): lines for path in files if (lines := len(path.read_text().splitlines())) > 400
        }
        assert not long


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
        if part(name) not in {None, *NETWORK_FREE}
        or name.partition(".")[0] in {"benchmarks", "configs", "scripts", "tests"}
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
    modules = [module_name(path) for path in PACKAGE_FILES if room(path) != "input_pipeline"]
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
        "tensorflow": "input_pipeline",
        "tensorflow_datasets": "input_pipeline",
        "torch": None,
        "torchvision": None,
    }
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in PACKAGE_FILES
        for name in imports(path)
        if name.partition(".")[0] in homes and room(path) != homes[name.partition(".")[0]]
    ]
    assert not offenders


def test_tracked_files_are_small():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert tracked
    assert not [path for path in tracked if path.is_file() and path.stat().st_size > 2_000_000]
