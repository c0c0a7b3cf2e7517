"""torchvision's Mask R-CNN in a process of another Python, for measurements beside ours."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from amodal_jax.cli.cores import usable_cores
from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from scripts.benchmarks.example import Example
from scripts.benchmarks.measurement import Measurement
from scripts.benchmarks.network import BRANCH_SCALE
from scripts.benchmarks.options import Options


class Torchvision:
    """The running process; `run` has it do one repetition."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self.versions = self._answer()
        self.last: dict[str, Any] = {}

    def run(self, command: str) -> tuple[float, float]:
        """Seconds and processor seconds of one "train", "network" or "whole"; `last` gets the rest of the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self.last = self._answer()
        return self.last.pop("seconds"), self.last.pop("cpu_seconds")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ConfigError(f"torchvision's process ended with {self._process.wait()}; its message is above")
        return json.loads(line)


@contextmanager
def torchvision_beside(options: Options, examples: list[Example]) -> Iterator[Torchvision | None]:
    """The model of torchvision with the same settings and images; None where it was not asked for."""
    if options.torch_python is None:
        yield None
        return
    config = options.sized()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = []
        for index, example in enumerate(examples):
            paths.append(str(folder / f"{index}.npz"))
            np.savez(paths[-1], image=example.image, boxes=example.boxes, labels=example.labels, masks=example.masks)
        (folder / "settings.json").write_text(json.dumps(_settings(options, config, paths)))
        command = [options.torch_python, str(Path(__file__).with_name("torchvision_side.py"))]
        process = stack.enter_context(
            subprocess.Popen(
                [*command, str(folder / "settings.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(process.kill)
        yield Torchvision(process)


def ratio_facts(measurements: list[Measurement], ours: str, theirs: str) -> dict[str, float]:
    """How many times theirs ours takes: by the median times, and by those of the processor."""
    by_name = {one.name: one for one in measurements}
    return {
        f"{ours} / {theirs}": by_name[ours].median / by_name[theirs].median,
        f"{ours} / {theirs}, processor time": by_name[ours].cpu_median / by_name[theirs].cpu_median,
    }


def _settings(options: Options, config: Config, paths: list[str]) -> dict[str, Any]:
    model, train, evaluation = config.model, config.train, config.evaluation
    if model.backbone.depth != 50 or model.backbone.norm != "frozen_batch_norm":
        raise ConfigError("--torch-python: only a ResNet-50 with frozen batch norm has its like in torchvision")
    if model.roi.aligned or train.optimizer != "sgd":
        raise ConfigError("--torch-python: torchvision has model.roi.aligned false and train.optimizer sgd")
    return {
        "setup": options.torch_setup,
        "threads": usable_cores(),
        "bfloat16": model.compute_dtype == "bfloat16",
        "branch_scale": BRANCH_SCALE,
        "trainable_layers": 5 - model.backbone.frozen_stages,
        "optimizer": {
            "lr": train.learning_rate * train.warmup_factor,
            "momentum": train.momentum,
            "weight_decay": train.weight_decay,
        },
        "examples": paths,
        "model": {
            "num_classes": len(model.class_names) + 1,
            "min_size": model.input.short_side,
            "max_size": model.input.long_side,
            "rpn_pre_nms_top_n_train": model.rpn.pre_nms_train,
            "rpn_pre_nms_top_n_test": model.rpn.pre_nms_test,
            "rpn_post_nms_top_n_train": model.rpn.post_nms_train,
            "rpn_post_nms_top_n_test": model.rpn.post_nms_test,
            "rpn_nms_thresh": model.rpn.nms_threshold,
            "rpn_batch_size_per_image": model.rpn.batch_size,
            "box_batch_size_per_image": model.roi.batch_size,
            "box_score_thresh": evaluation.score_threshold,
            "box_nms_thresh": evaluation.nms_threshold,
            "box_detections_per_img": evaluation.max_detections,
        },
    }
