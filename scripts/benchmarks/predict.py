"""Prediction from a standing start: a new process loads a checkpoint, answers its first image, and the next ones."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

from amodal_jax.errors import CheckpointError
from amodal_jax.runs.checkpoint_writer import write_network
from scripts.benchmarks.example import draw_example
from scripts.benchmarks.measurement import Measurement, Report
from scripts.benchmarks.network import random_variables
from scripts.benchmarks.options import Options

ROOT = Path(__file__).resolve().parents[2]
SIZES = ((375, 1242), (370, 1224), (374, 1238), (376, 1241))  # KITTI's


def measure(options: Options) -> Report:
    """Starts twice, first with no compilation kept and then with the first start's, on images of KITTI's sizes."""
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = options.checkpoint or folder / "run"
        if not options.checkpoint:
            write_network(checkpoint, options.config, random_variables(options.config))
        if options.image_folder:
            images = sorted(options.image_folder.glob("*.png"))[: max(2, options.repeats + 1)]
        else:
            images = _draw_images(folder, options)
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        for start in ("first start", "second start"):
            command = [sys.executable, "-m", "scripts.benchmarks.first_prediction", str(checkpoint), *map(str, images)]
            finished = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
            )
            if finished.returncode:
                raise CheckpointError(f"the process that predicts ended with {finished.returncode}, see above")
            answer = json.loads(finished.stdout.splitlines()[-1])
            first, *others = answer["seconds"]
            for part, seconds in (
                ("loading", [answer["loading"]]),
                ("first image", [first]),
                ("next images", others),
            ):
                report.measurements.append(Measurement(f"{start}: {part}", seconds, [0.0] * len(seconds), 1, "image"))
            report.facts |= {
                f"{start}: until the first answer, s": answer["loading"] + first,
                f"{start}: programs compiled or fetched for each image": answer["compilations"],
                f"{start}: instances": answer["instances"],
            }
    report.facts["image sizes"] = answer["sizes"]
    return report


def _draw_images(folder: Path, options: Options) -> list[Path]:
    paths = []
    for index in range(max(2, options.repeats + 1)):
        example = draw_example(*SIZES[index % len(SIZES)], len(options.config.model.class_names), index)
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), example.image[..., ::-1])
    return paths
