"""Reading back what a training logged."""

import pytest

from amodal_jax.errors import DataError
from amodal_jax.metrics_log import read_metrics_log


def test_log_of_a_run_that_was_killed_and_resumed(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text(
        '{"step": 1, "loss": 5}\n{"step": 2, "loss": 4, "note": "text"}\n{"step": 2, "loss": 3}\n{"step": 3, "lo'
    )
    assert read_metrics_log(log) == {"loss": {1: 5.0, 2: 3.0}}
    assert read_metrics_log(tmp_path / "absent.jsonl") == {}
    log.write_text('{"step": 1, "loss": 5}\nnonsense\n{"step": 2, "loss": 4}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2"):
        read_metrics_log(log)
    log.write_bytes(b"\xff\xff\n{}\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 1"):
        read_metrics_log(log)
