import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.labelme_project import HEIGHT, WIDTH, content

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


@pytest.fixture
def project(tmp_path):
    """Writes a project of one image, or of several, and gives the folder of its json files."""
    (tmp_path / "images").mkdir()

    def write(*lists_of_shapes, folder="annotations", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        for number, shapes in enumerate(lists_of_shapes, start=1):
            name = f"{number:06d}"
            cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((HEIGHT, WIDTH, 3), number, np.uint8))
            text = json.dumps(content(shapes, f"../images/{name}.png") | changes)
            (tmp_path / folder / f"{name}.json").write_text(text)
        return tmp_path / folder

    return write
