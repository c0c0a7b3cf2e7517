"""Trains a network, or goes on with a run: the same command again resumes it.

python scripts/train.py CONFIG --workdir DIR [--preset DATASET] [--init CHECKPOINT] [--section.field value ...]

CONFIG is of KINS; --preset puts the sizes and the schedule of another dataset in it, in epochs of the one that is
trained on.

A run goes on from its own last checkpoint; one that has none starts from the weights of CHECKPOINT, another run or what
scripts/import_weights.py wrote, or else from random ones. What those weights expect of the network (the image's
normalisation, the place of the strides, the anchors and so on) replaces CONFIG's fields, and options of the command
line replace both. What became of every layer is printed, and written to DIR/init.json.

SIGTERM or Ctrl-C saves a checkpoint and ends with status 0; the same command goes on from there. What follows is then
what would have followed without the stop: on CPUs to the last bit, on GPUs but for rounding, as their atomic additions
come in any order and make any two runs differ so. On several machines, start one process on each, which takes all of
its GPUs, or one for each GPU: by srun or mpirun with --distributed, or by hand with --coordinator, --processes and
--process. DIR must be on a file system that all of them see.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line


def main() -> None:
    """Reads the command line and trains."""
    with command_line.importing():
        from amodal_jax.config_json import field_lines, override
        from configs import config_names, load_config
        from configs.presets import load_preset, preset_names

    names = [name for name in sys.argv[1:] if name in config_names()]
    fields = field_lines(load_config(names[0] if names else "asn_r50_fpn"))
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="overrides, with the values of CONFIG:\n  " + "\n  ".join(fields),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG", help=f"one of {', '.join(config_names())}")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run directory")
    parser.add_argument("--preset", metavar="DATASET", help=f"one of {', '.join(preset_names())}")
    parser.add_argument(
        "--init", type=Path, metavar="CHECKPOINT", help="another run, whose weights this one starts from"
    )
    command_line.add_process_arguments(parser)
    arguments, overrides = parser.parse_known_args()
    base = load_config(arguments.config)
    config = override(base, overrides)
    preset = load_preset(arguments.preset) if arguments.preset else None

    command_line.keep_compilations()
    command_line.join_processes(arguments)
    with command_line.importing():
        from amodal_jax.input_pipeline.records import split_size
        from amodal_jax.train import train
        from amodal_jax.training.start import config_to_start_from

        importlib.import_module("amodal_jax.input_pipeline.batches")  # which training imports, with TensorFlow

    if preset is not None:
        base = preset.apply(base, split_size(config, config.data.train_split))
    if arguments.init is not None:
        base = config_to_start_from(arguments.init, base, arguments.workdir)
    config = override(base, overrides)
    train(config, arguments.workdir, init=arguments.init)


if __name__ == "__main__":
    command_line.run(main)
