"""Evaluates a checkpoint, or result files of any tool, on the test split: the paper's figures.

Name --checkpoint DIR, or --results-amodal FILE and --results-inmodal FILE with --dataset DIR.

A checkpoint brings its configuration. Its data and evaluation sections can be changed here, and the size of the
network's input canvas, --model.input.height and --model.input.width. Writes metrics.json, detections_amodal.json and
detections_inmodal.json: by default to `evaluation` in the run, as the training does, or to `evaluation_best`.

Result files are in COCO's results format; either one will do. Det is measured on the boxes of the amodal file, or on
those of --results-det. A file with a detection twice, or with none in an image that has objects, is warned of, and
refused with --strict. The split is --data.test-split, and --model.occlusion.threshold decides what is occluded. Writes
metrics.json where --out says. docs/evaluation.md describes the protocol and the files.
"""

import argparse
import importlib
from pathlib import Path

from amodal_jax.cli import command_line
from amodal_jax.errors import ConfigError

_FIELDS_OF_CHECKPOINTS = ("--data.", "--evaluation.", "--model.input.height", "--model.input.width")
_FIELDS_OF_FILES = ("--data.directory", "--data.test-split", "--model.occlusion.threshold")
FIELDS: tuple[str, ...] = (*_FIELDS_OF_CHECKPOINTS, "--model.occlusion.threshold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="a run, one of its checkpoints, or an export")
    parser.add_argument("--best", action="store_true", help="the run's best checkpoint, not its last")
    parser.add_argument("--results-amodal", type=Path, metavar="FILE", help="amodal masks, and boxes where it has them")
    parser.add_argument("--results-inmodal", type=Path, metavar="FILE", help="inmodal masks")
    parser.add_argument("--results-det", type=Path, metavar="FILE", help="amodal boxes; default: the amodal file's")
    parser.add_argument(
        "--strict", action="store_true", help="refuse result files that repeat detections or leave images out"
    )
    parser.add_argument("--dataset", metavar="DIR", help="the built dataset; the same as --data.directory")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write; default: in the run, see above")
    command_line.add_process_arguments(parser)


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Evaluates."""
    if arguments.dataset is not None:
        overrides = [*overrides, "--data.directory", arguments.dataset]
    kinds = {"det": arguments.results_det, "amodal": arguments.results_amodal, "inmodal": arguments.results_inmodal}
    files = {kind: path for kind, path in kinds.items() if path is not None}
    if (arguments.checkpoint is not None) == bool(files):
        raise ConfigError("name either a --checkpoint, or result files with --results-amodal and --results-inmodal")
    if files:
        _evaluate_files(files, arguments, overrides)
    else:
        _evaluate_checkpoint(arguments, overrides)


def _evaluate_files(files: dict[str, Path], arguments: argparse.Namespace, overrides: list[str]) -> None:
    for name in ("best", "distributed", "coordinator", "processes", "process"):
        value = getattr(arguments, name)
        if value is not None and value is not False:
            raise ConfigError(f"--{name} cannot be set: it is of a checkpoint's evaluation, and files are scored here")
    command_line.check_fields(overrides, _FIELDS_OF_FILES, "no network is run")
    with command_line.importing():
        from amodal_jax.config import Config, ModelConfig
        from amodal_jax.config_json import override

    # The classes are the dataset's.
    config = override(Config(model=ModelConfig(class_names=())), overrides)
    # Imported here, so that --help and a mistyped argument do without JAX.
    with command_line.importing():
        from amodal_jax.evaluate import evaluate_files

        importlib.import_module("amodal_jax.input_pipeline.batches")  # which evaluation imports, with TensorFlow

    print(
        f"{', '.join(map(str, files.values()))} on {config.data.directory}, split {config.data.test_split}", flush=True
    )
    evaluate_files(files, config, arguments.out, strict=arguments.strict)
    if arguments.out is not None:
        print(f"written to {arguments.out}")


def _evaluate_checkpoint(arguments: argparse.Namespace, overrides: list[str]) -> None:
    if arguments.strict:
        raise ConfigError("--strict cannot be set: it is of result files, and a checkpoint's are whole")
    command_line.check_fields(overrides, _FIELDS_OF_CHECKPOINTS, "the network is the checkpoint's")
    command_line.keep_compilations()
    command_line.join_processes(arguments)
    # Imported here, so that --help and a mistyped argument do without JAX.
    with command_line.importing():
        import jax

        from amodal_jax.config_json import override
        from amodal_jax.evaluate import evaluate_network
        from amodal_jax.network import build_network
        from amodal_jax.runs.checkpoint_reader import load_checkpoint
        from amodal_jax.runs.directory import Kind, evaluation_folder, run_of

        importlib.import_module("amodal_jax.input_pipeline.batches")  # which evaluation imports, with TensorFlow

    kind: Kind = "best" if arguments.best else "last"
    run = run_of(arguments.checkpoint, kind=kind)
    if arguments.out is not None:
        output = arguments.out
    elif run is not None:
        output = evaluation_folder(*run)
    else:
        raise ConfigError(f"{arguments.checkpoint}: this checkpoint lies in no run directory; name a folder with --out")
    config, variables, step = load_checkpoint(arguments.checkpoint, kind=kind)
    config = override(config, overrides)
    checkpoint = {"directory": str(arguments.checkpoint.absolute()), "kind": run and run[1], "step": step}
    first = jax.process_index() == 0
    if first:
        print(f"checkpoint of step {step}, {config.data.directory}, split {config.data.test_split}", flush=True)
    evaluate_network(build_network(config), variables, config, output, checkpoint=checkpoint)
    if first:
        print(f"written to {output}")
