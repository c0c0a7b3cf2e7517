"""Makes a checkpoint of another framework's weights.

FILE is a .pth, .pkl, .safetensors or .npz; whose weights they are is recognised by the names in it. What they expect of
the network goes with them as the checkpoint's configuration: a detector can be evaluated, predict and initialise a
training, a classifier's backbone only the last. Where weights expect something else than the published ones of their
layout, say a network that was trained on RGB images by detectron2, and the arrays do not tell, options set it.
"""

import argparse
from pathlib import Path

from amodal_jax.cli import command_line
from amodal_jax.weights.overridable import OVERRIDABLE

FIELDS: tuple[str, ...] = tuple(f"--{field.replace('_', '-')}" for field in OVERRIDABLE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the weights")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run directory to write")
    parser.add_argument(
        "--class-names",
        type=lambda text: text.split(","),
        metavar="NAME,...",
        help="the classes without the background, in the order of the outputs; default: COCO's where their number fits",
    )
    parser.add_argument(
        "--batch-norm-epsilon",
        type=float,
        metavar="EPSILON",
        help="what the weights' batch norm adds to the variance; default: what torchvision or detectron2 would add",
    )


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Converts."""
    # Imported here, so that --help and a mistyped argument do without JAX.
    with command_line.importing():
        from amodal_jax.weights.convert import import_weights

    made = import_weights(
        arguments.file,
        arguments.out,
        class_names=arguments.class_names,
        batch_norm_epsilon=arguments.batch_norm_epsilon,
        overrides=overrides,
    )
    classes = len(made.config.model.class_names)
    print(f"{arguments.file}: {made.layout.title}, {f'{classes} classes' if classes else 'the backbone alone'}")
    if made.prefix:
        print(f"the names of the arrays without their prefix {made.prefix!r}")
    print(f"batch norm's epsilon: {made.batch_norm_epsilon:g}; arrays of no use: {len(made.unread)}")
    print(f"written to {arguments.out}")
