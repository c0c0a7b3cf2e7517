"""Exports a network as files that run without this package, on any machine that has JAX.

Writes the parameters as parameters.safetensors with config.json beside them, the whole inference as StableHLO in
detect.jax_export, and run.py, which finds objects with them; docs/export.md says more. The folder is also taken
wherever a checkpoint is. Its thresholds can be changed here, and its input canvas, --model.input.height and
--model.input.width, for images that do not fit it once they are resized.
"""

import argparse
from pathlib import Path

from amodal_jax.cli import command_line

FIELDS: tuple[str, ...] = ("--evaluation.", "--model.input.height", "--model.input.width")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="a run, or one of its checkpoints"
    )
    parser.add_argument("--best", action="store_true", help="the run's best checkpoint, not its last")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write, a new one")
    parser.add_argument(
        "--platforms", default="cpu,cuda", help="what it is to run on, of cpu, cuda, rocm and tpu (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images at a time (%(default)s)")
    parser.add_argument("--height", type=int, metavar="H", help="of the largest image; default: of the dataset's")
    parser.add_argument("--width", type=int, metavar="W", help="of the largest image; default: of the dataset's")


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Exports."""
    command_line.check_fields(overrides, FIELDS, "the network is the checkpoint's")
    # Imported here, so that --help and a mistyped argument do without JAX.
    with command_line.importing():
        from amodal_jax.config_json import override
        from amodal_jax.export import export_network
        from amodal_jax.runs.checkpoint_reader import load_checkpoint

    config, variables, step = load_checkpoint(arguments.checkpoint, kind="best" if arguments.best else "last")
    config = override(config, overrides)
    canvas = (
        config.data.canvas_height if arguments.height is None else arguments.height,
        config.data.canvas_width if arguments.width is None else arguments.width,
    )
    platforms = [name for name in arguments.platforms.split(",") if name]
    config = export_network(
        config,
        variables,
        step,
        arguments.out,
        platforms=platforms,
        batch_size=arguments.batch_size,
        canvas=canvas,
    )
    print(
        f"checkpoint of step {step}: images of up to {config.data.canvas_height} x {config.data.canvas_width} pixels, "
        f"{arguments.batch_size} at a time, on {', '.join(platforms)}"
    )
    for path in sorted(arguments.out.iterdir()):
        print(f"{path.stat().st_size / 1e6:10.2f} MB  {path}")
