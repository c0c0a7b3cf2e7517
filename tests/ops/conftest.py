from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ops"


@pytest.fixture
def golden(request):
    """The arrays of the golden file named like the test module, as tests/golden/regenerate/ops.py writes them."""
    return np.load(GOLDEN / f"{request.module.__name__.rpartition('.')[2].removeprefix('test_')}.npz")
