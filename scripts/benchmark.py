"""Measures speed or memory, prints a table and writes a json with the machine, the versions and every repetition.

python scripts/benchmark.py WHAT [--config NAME] [--json FILE] [options] [--section.field value ...]

WHAT is one of
  pipeline       from PNG records to batches, beside decoding alone
  training-step  the training loop's step, data on the device
  inference      image to boxes and masks
  parts          both of these part by part
  evaluation     of 500 images: truth, network, mask output, COCOeval, all
  roi-align, nms, mask-output   these operations alone
  predict        a new process: loading, first image, next images and what they compile
  compile        tracing and compilation of the training step and of inference
  memory         of the training step and of inference
  h100-program   what the training step or inference costs on H100s at the least, without one: in bfloat16 unless
                 --model.compute-dtype says otherwise

Beside torchvision, in turn with ours, with the python of an environment that has it:
  python scripts/benchmark.py inference --config torchvision_mask_rcnn --beside-torchvision --torch-python PYTHON
"""

import argparse
import datetime
import importlib
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.errors import ConfigError

WHAT = (
    "pipeline",
    "training-step",
    "inference",
    "parts",
    "evaluation",
    "roi-align",
    "nms",
    "mask-output",
    "predict",
    "compile",
    "memory",
    "h100-program",
)
BESIDE_TORCHVISION = ("training-step", "inference")


def main() -> None:
    """Reads the command line, measures, reports."""
    with command_line.importing():
        from amodal_jax.config_json import override
        from amodal_jax.files.atomic import write_atomically
        from configs import config_names, load_config
        from scripts.benchmarks.options import Options

    arguments, overrides = read_command_line(config_names())
    config = override(load_config(arguments.config), overrides)
    started = datetime.datetime.now(datetime.UTC)

    with command_line.importing():
        import jax

        from scripts.benchmarks.machine import describe_machine, describe_versions

        measurement = importlib.import_module(f"benchmarks.{arguments.what.replace('-', '_')}")
    command_line.keep_compilations()
    machine = describe_machine()
    batch_size = {"pipeline": 8, "h100-program": arguments.cards}.get(arguments.what, jax.local_device_count())
    report = measurement.measure(
        Options(
            config=config,
            height=arguments.height,
            width=arguments.width,
            batch_size=arguments.batch_size or batch_size,
            repeats=arguments.repeats,
            images=arguments.images or (64 if arguments.what == "pipeline" else 500),
            image_folder=arguments.image_folder,
            checkpoint=arguments.checkpoint,
            torch_python=arguments.torch_python,
            torch_setup=arguments.torch_setup,
            program=arguments.program,
            cards=arguments.cards,
            plugin=arguments.plugin,
        )
    )
    versions = describe_versions()
    print(f"{arguments.what}, {arguments.config}, {started:%Y-%m-%d}")
    print(f"{machine['cores']} cores of {machine['processor']}; JAX on {', '.join(machine['devices'])}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(report.table(), flush=True)
    if arguments.json:
        result = {
            "what": arguments.what,
            "command": shlex.join(["python", "scripts/benchmark.py", *sys.argv[1:]]),
            "date": started.isoformat(timespec="seconds"),
            "machine": machine,
            "versions": versions,
            **report.to_json(),
        }
        write_atomically(arguments.json, json.dumps(result, indent=2) + "\n")


def read_command_line(configurations: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the arguments that change fields of the configuration.

    Raises:
      ConfigError: options that do not go together or are out of range.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", metavar="WHAT", choices=WHAT)
    parser.add_argument(
        "--config", default="mask_rcnn_r50_fpn", metavar="NAME", help=f"%(default)s, or of {', '.join(configurations)}"
    )
    parser.add_argument("--height", type=int, default=384, help="of the image that the network sees (%(default)s)")
    parser.add_argument("--width", type=int, default=1248, help="likewise (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="images a step, all devices together (one a device)")
    parser.add_argument("--repeats", type=int, default=7, help="timed repetitions (%(default)s)")
    parser.add_argument("--images", type=int, help="of pipeline (64) and evaluation (500)")
    parser.add_argument("--image-folder", type=Path, help="PNG files for pipeline, evaluation and predict")
    parser.add_argument("--checkpoint", type=Path, help="the network for evaluation and predict, else a random one")
    parser.add_argument(
        "--beside-torchvision", action="store_true", help="training-step and inference: in turn with it"
    )
    parser.add_argument("--torch-python", metavar="PYTHON", help="of an environment with torchvision")
    parser.add_argument("--torch-setup", metavar="MODULE", help="to import there first, found by its PYTHONPATH")
    parser.add_argument(
        "--program", choices=BESIDE_TORCHVISION, default="training-step", help="of h100-program (%(default)s)"
    )
    parser.add_argument("--cards", type=int, default=1, help="H100s of h100-program (%(default)s)")
    parser.add_argument("--plugin", type=Path, metavar="DIR", help="where pip put h100-program's compiler by --target")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes")
    arguments, overrides = parser.parse_known_args()
    if arguments.beside_torchvision != bool(arguments.torch_python):
        raise ConfigError("--beside-torchvision and --torch-python PYTHON go together")
    if arguments.beside_torchvision and arguments.what not in BESIDE_TORCHVISION:
        raise ConfigError(f"--beside-torchvision is for {' and '.join(BESIDE_TORCHVISION)}")
    for name in ("height", "width", "batch_size", "repeats", "images", "cards"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it has to be positive")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        raise ConfigError(f"--json {arguments.json}: there is no such folder to write it in")
    if arguments.what == "h100-program":
        overrides = ["--model.compute-dtype", "bfloat16", *overrides]
    return arguments, overrides


if __name__ == "__main__":
    command_line.run(main)
