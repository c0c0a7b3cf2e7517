"""Every measurement runs, on sizes too small to say anything, and gives what a result file holds; no time is judged."""

import dataclasses
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from amodal_jax.errors import ConfigError
from scripts.benchmarks.example import draw_example
from scripts.benchmarks.measurement import Measurement, Report, interleave
from scripts.benchmarks.options import Options
from tests.helpers.micro import micro_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options() -> Options:
    config = micro_config()
    return Options(
        config=dataclasses.replace(config, data=dataclasses.replace(config.data, max_instances=40)),
        height=64,
        width=96,
        batch_size=jax.local_device_count(),
        repeats=1,
        images=2,
    )


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ("training_step", ["loss", "TFLOP a device and call"]),
        ("inference", ["detections"]),
        ("parts", ["inference: sum of the parts, s an image", "training: sum of the parts, s an image"]),
        ("evaluation", ["detections", "instances"]),
        ("roi_align", []),
        ("nms", []),
        ("mask_output", []),
        ("memory", ["inference: temporaries, MiB"]),
    ],
)
def test_a_measurement_reports_times_and_facts(options, what, facts):
    report = importlib.import_module(f"scripts.benchmarks.{what}").measure(options)
    assert report.measurements or report.facts
    for one in report.measurements:
        assert all(seconds > 0 for seconds in one.seconds)
        assert one.name in report.table()
    for name in facts:
        assert math.isfinite(report.facts[name])
    assert json.loads(json.dumps(report.to_json())) == report.to_json()


def test_the_pipeline_reads_every_record_of_an_image_folder(options):
    folder = ROOT / "data" / "kins" / "dummy_data" / "training" / "image_2"
    report = importlib.import_module("scripts.benchmarks.pipeline").measure(
        dataclasses.replace(options, image_folder=folder, batch_size=2, images=4)
    )
    assert [one.name for one in report.measurements] == ["pipeline", "decoding alone"]
    assert [one.count for one in report.measurements] == [4, 4]
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.png"))]
    assert report.facts["bytes of an image"] == (sum(sizes) + sizes[0]) // 4


def test_predictions_after_the_first_compile_nothing(options):
    config = dataclasses.replace(
        options.config, data=dataclasses.replace(options.config.data, canvas_height=376, canvas_width=1242)
    )
    report = importlib.import_module("scripts.benchmarks.predict").measure(dataclasses.replace(options, config=config))
    for start in ("first start", "second start"):
        first, *others = report.facts[f"{start}: programs compiled or fetched for each image"]
        assert first > 0
        assert others == [0]


def test_the_command_writes_a_result_file(tmp_path):
    result = tmp_path / "result.json"
    command = [sys.executable, "scripts/benchmark.py", "nms", "--config", "asn_tiny", "--repeats", "2"]
    finished = subprocess.run(
        [*command, "--json", str(result), "--model.rpn.pre-nms-train", "50"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    content = json.loads(result.read_text())
    assert content["what"] == "nms"
    assert content["command"].startswith("python scripts/benchmark.py nms --config asn_tiny")
    assert content["machine"]["cores"] > 0
    assert content["versions"]["jax"] == jax.__version__
    assert [len(one["seconds"]) for one in content["measurements"]] == [2, 2, 2]
    assert "proposals in training, 5 x 50 boxes" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nms", "--beside-torchvision", "--torch-python", "python"], "is for training-step and inference"),
        (["inference", "--beside-torchvision"], "go together"),
        (["nms", "--model.nonsense", "1"], "unknown field model.nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments, message):
    command = [sys.executable, "scripts/benchmark.py", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_torchvision_needs_a_network_that_it_has(options):
    training_step = importlib.import_module("scripts.benchmarks.training_step")
    with pytest.raises(ConfigError, match="ResNet-50"):
        training_step.measure(dataclasses.replace(options, torch_python=sys.executable))


def test_repetitions_alternate_and_warm_ups_are_not_counted():
    calls = []
    measurements = interleave(
        {"ours": lambda: calls.append("ours"), "theirs": lambda: calls.append("theirs") or (3.0, 6.0)},
        2,
        warm_up=1,
        count=2,
        unit="image",
    )
    assert calls == ["ours", "theirs"] * 3
    assert [len(one.seconds) for one in measurements] == [2, 2]
    assert measurements[1].median == 1.5
    assert measurements[1].cpu_median == 3.0


def test_a_report_as_a_table():
    table = Report([Measurement("step", [0.5, 0.25, 1.0], [1.0, 1.0, 1.0], 1, "image")], {"ratio": 1.25}).table()
    assert table.splitlines()[1].split() == ["step", "500", "ms", "250", "ms", "1", "s", "1", "s", "2", "images/s"]
    assert table.endswith("ratio: 1.25")


def test_an_example_is_what_it_says():
    example = draw_example(96, 320, 7, seed=3)
    assert example.image.shape == (96, 320, 3)
    for box, mask in zip(example.boxes.astype(int), example.masks, strict=True):
        x1, y1, x2, y2 = box
        assert mask[y1:y2, x1:x2].sum() == mask.sum() > 0
        assert mask[y1].any()
        assert mask[:, x2 - 1].any()
