"""That `import amodal_jax`, and of every module in it, changes nothing of the process that it is imported into."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Imports what the package imports of others first: what they change is not ours.
PROGRAM = """
import ast, importlib, json, logging, os, signal, sys, threading, warnings
from pathlib import Path

files = sorted((Path(sys.argv[1]) / "amodal_jax").rglob("*.py"))
for path in files:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.partition(".")[0] not in {"amodal_jax", "image_framing"}:
                importlib.import_module(name)

import absl.logging, cv2, jax, numpy, tensorflow

asked = []
for name in ("set_visible_devices", "set_logical_device_configuration"):
    setattr(tensorflow.config, name, lambda *arguments: asked.append(arguments))


def state():
    loggers = {"root": logging.root} | logging.root.manager.loggerDict
    return {
        "loggers": {
            name: [logger.level, logger.propagate, logger.disabled, list(map(repr, logger.handlers + logger.filters))]
            for name, logger in loggers.items()
            if isinstance(logger, logging.Logger) and not name.startswith("amodal_jax")
        },
        "our loggers": {
            name: repr(logger)
            for name, logger in loggers.items()
            if name.startswith("amodal_jax") and (getattr(logger, "level", 0) or getattr(logger, "handlers", []))
        },
        "absl": absl.logging.get_verbosity(),
        "hooks": list(map(repr, [sys.unraisablehook, sys.excepthook, sys.displayhook, threading.excepthook])),
        "signals": {number.name: repr(signal.getsignal(number)) for number in signal.valid_signals() if number < 32},
        "warnings": list(map(repr, warnings.filters)),
        "environment": dict(os.environ),
        "jax": {name: repr(value) for name, value in jax.config.values.items()},
        "numpy": numpy.geterr(),
        "opencv": cv2.getNumThreads(),
        "tensorflow": list(map(repr, tensorflow.config.get_visible_devices())),
        "tensorflow was asked for": list(map(repr, asked)),
        "path": sys.path,
    }


before = state()
for path in files:
    parts = path.relative_to(sys.argv[1]).with_suffix("").parts
    importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
print(json.dumps([before, state(), sorted(name for name in sys.modules if name.startswith("amodal_jax"))]))
"""


def test_importing_the_package_changes_nothing():
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    before, after, modules = json.loads(finished.stdout)
    assert before == after
    assert len(modules) == len(list((ROOT / "amodal_jax").rglob("*.py")))
