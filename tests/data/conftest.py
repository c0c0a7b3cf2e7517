import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dataset(monkeypatch, capsys):
    """Runs scripts/dataset.py; gives the exit status, stdout and stderr."""
    specification = importlib.util.spec_from_file_location("dataset", ROOT / "scripts" / "dataset.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dataset.py", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            script.command_line.run(script.main)
        printed = capsys.readouterr()
        return exit_.value.code, printed.out, printed.err

    return run
