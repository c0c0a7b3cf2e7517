"""No mask of any file ends the process: every reader and operation, with odd masks, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.odd_masks import compressed, odd_runs

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("AMODAL_JAX_FUZZ_SECONDS", "4"))  # of each process; more for a longer search
SEED = int(os.environ.get("AMODAL_JAX_FUZZ_SEED", "0"))


@pytest.mark.parametrize("number", range(2))
def test_odd_masks_end_in_an_error_or_a_right_result(number, tmp_path):
    case = tmp_path / "case.json"
    command = [sys.executable, "-m", "tests.data.odd_masks", str(2 * SEED + number), str(SECONDS), str(case)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60 + 10 * SECONDS, check=False
    )
    last = case.read_text()[:5000] if case.exists() else "none"
    assert done.returncode == 0, f"{done.stderr[-5000:]}\nthe last case: {last}"
    assert int(done.stdout) > 0


def test_runs_are_written_as_coco_writes_them():
    """Otherwise the odd codes above would be nothing but noise."""
    import random

    from pycocotools import mask as coco_mask

    rng = random.Random(0)
    for _ in range(100):
        runs = odd_runs(rng, 60)
        code = coco_mask.frPyObjects({"size": [6, 10], "counts": runs}, 6, 10)
        assert compressed(runs) == code["counts"].decode()
