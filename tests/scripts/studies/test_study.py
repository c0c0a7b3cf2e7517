"""The command from its first line to its tables, on records of the real builder; trainings are stand-ins.

A stand-in writes what the evaluation of a network would that finds every object, some of them a little beside, so that
figures, intervals and pages are of real result files.
"""

import json
import sys

import numpy as np
import pytest

from amodal_jax.config import Config, ModelConfig
from amodal_jax.config_json import override
from amodal_jax.evaluation.metrics import evaluate_results, results_from_truth
from amodal_jax.evaluation.truth import read_truth
from amodal_jax.evaluation.write import write_results
from scripts.studies import cost, jobs, tables, work
from scripts.studies.jobs import JobFailed
from scripts.studies.tables import ORCNN, Row, Table
from tests.helpers.micro import micro_config
from tests.test_documents import load_script

SMALL = Table(
    "table4",
    "A small table",
    "mask_rcnn",
    (tables.TABLES["table5"].rows[2], Row("orcnn", "ORCNN", (30.9, 29.0, 26.4), ORCNN)),
)
STEPS = 7


@pytest.fixture
def study(monkeypatch, tiny_dataset, tmp_path):
    """Types the command with further words; gives its exit status. `failing` has the names of rows that fail."""
    truth = read_truth(override(Config(model=ModelConfig(class_names=())), ["--data.directory", str(tiny_dataset)]))
    failing: set[str] = set()

    def run_stand_in(job, command):
        if job.row.name in failing:
            raise JobFailed(f"{command[0]} ended with status 1: error: out of memory")
        if command[0] == "scripts/evaluate.py":
            results = results_from_truth(truth)
            rng = np.random.default_rng(job.seed)
            for found in results["det"]:
                found["bbox"][0] += float(rng.integers(0, 6 if job.row.name == "mask_rcnn" else 2))
            for kind in ("amodal", "inmodal"):
                for found, box in zip(results[kind], results["det"], strict=False):
                    found["bbox"] = box["bbox"]
            metrics = evaluate_results(truth, results)
            write_results(job.metrics_file.parent, results, metrics, {"checkpoint": {"step": STEPS}})

    monkeypatch.setitem(tables.TABLES, "table4", SMALL)
    monkeypatch.setattr(jobs, "_run", run_stand_in)
    monkeypatch.setattr(work, "estimate", lambda jobs, config: cost.Estimate({job.row.name: 0.5 for job in jobs}, 1.5))

    def run(*words: str) -> int:
        script = load_script("scripts/study.py")
        command = ["scripts/study.py", "table4", "--dataset", str(tiny_dataset), "--config", "asn_tiny"]
        command += ["--out", str(tmp_path / "study"), "--samples", "50", "--train.steps", str(STEPS), *words]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            script.command_line.run(script.main)
        return ended.value.code or 0

    run.failing = failing
    return run


def test_from_the_plan_to_the_tables(study, tmp_path, capsys):
    folder = tmp_path / "study"
    assert study("--seeds", "2", "--plan") == 0
    plan = capsys.readouterr().out
    assert "   3  orcnn            seed 1  7 steps of 0.5 s" in plan
    assert "4 of 4 trainings are to be done, 1.5 hours" in plan
    assert not list(folder.glob("table4.*"))

    assert study("--seeds", "2", "--row", "2") == 0  # mask_rcnn, seed 1
    assert [path.parent.parent.name for path in folder.glob("runs/*/*/evaluation")] == ["mask_rcnn"]
    capsys.readouterr()

    assert study("--seeds", "2") == 0
    said = capsys.readouterr().out
    assert "   2  mask_rcnn        seed 1  done" in said
    assert "[1/4] mask_rcnn, seed 0: python scripts/train.py asn_tiny --workdir" in said
    assert "[3/4]" not in said
    assert (folder / "table4.md").read_text() in said
    found = json.loads((folder / "table4.json").read_text())
    for row in found["rows"]:
        for seed in range(2):
            metrics = json.loads(
                (folder / f"runs/{row['row']['name']}/seed-{seed}/evaluation/metrics.json").read_text()
            )
            for figure in ("det/AP", "amodal/AP", "inmodal/AP"):
                assert row["values"][figure][seed] == pytest.approx(100 * metrics[figure])
    # The boxes of ORCNN's stand-in lie nearer; the masks of both are the truth.
    orcnn = found["rows"][1]
    assert orcnn["over_seeds"]["det/AP"]["mean"] > 5
    assert orcnn["over_images"]["det/AP"]["low"] <= orcnn["over_seeds"]["det/AP"]["mean"]
    assert orcnn["over_images"]["amodal/AP"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_a_row_that_fails_is_told_and_keeps_no_other_from_its_turn(study, tmp_path, capsys):
    study.failing.add("mask_rcnn")
    assert study("--seeds", "1") == 1
    said = capsys.readouterr()
    assert "mask_rcnn, seed 0 failed: scripts/train.py ended with status 1: error: out of memory" in said.err
    assert "| Mask R-CNN (failed: seed 0: " in said.out
    assert "| ORCNN | 1 |" in said.out
    study.failing.clear()
    assert study("--seeds", "1") == 0
    assert "failed" not in (tmp_path / "study/table4.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; it has to be positive"),
        (["--row", "6"], "--row is 6; there are the trainings 0 to 5"),
        (["--model.mlc.box_layre", "1"], "box_layre"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(study, tmp_path, capsys, words, message):
    assert study(*words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "study").exists()


def test_a_folder_keeps_to_its_settings(study, capsys):
    assert study("--seeds", "1") == 0
    assert study("--seeds", "1", "--train.batch-size", "2") == 1
    assert "choose another --out" in capsys.readouterr().err


def test_a_step_is_measured_and_others_are_estimated_by_their_arithmetic(tmp_path):
    settings = jobs.Settings("micro", "-", None, ())
    rows = [Row("asn", "ASN", ()), Row("mask_rcnn", "Mask R-CNN", (), tables.NO_OCCLUSION)]
    config = override(micro_config(), ["--train.batch-size", "8"])
    found = cost.estimate(jobs.all_jobs(rows, 3, tmp_path, settings), config)
    assert 0 < found.seconds_a_step["mask_rcnn"] < found.seconds_a_step["asn"]
    assert found.hours == pytest.approx(3 * config.train.steps * sum(found.seconds_a_step.values()) / 3600)
