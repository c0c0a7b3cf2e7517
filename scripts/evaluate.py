"""Evaluates a checkpoint on the test split: the paper's figures, and COCO result files.

python scripts/evaluate.py --checkpoint DIR [--best] [--output DIR] [--data.FIELD VALUE ...]

The configuration comes from the checkpoint. Its data and evaluation sections can be changed here, and the size of the
network's input canvas, --model.input.height and --model.input.width. Writes metrics.json, detections_amodal.json and
detections_inmodal.json: by default to `evaluation` in the run, as the training does, or to `evaluation_best`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax import command_line
from amodal_jax.config import override
from amodal_jax.errors import ConfigError


def main() -> None:
    """Reads the command line and evaluates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="a run, or one of its checkpoints"
    )
    parser.add_argument("--best", action="store_true", help="the run's best checkpoint, not its last")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the folder to write; default: in the run, see above"
    )
    command_line.add_process_arguments(parser)
    arguments, overrides = parser.parse_known_args()
    for name in overrides:
        field = name.partition("=")[0]
        if not name.startswith("--") or field in ("--model.input.height", "--model.input.width"):
            continue
        if not field.startswith(("--data.", "--evaluation.")):
            raise ConfigError(
                f"{field} cannot be set: the network is the checkpoint's; only --data.FIELD, --evaluation.FIELD, "
                "--model.input.height and --model.input.width can be changed"
            )
    command_line.keep_compilations()
    command_line.join_processes(arguments)
    # Imported here, so that --help and a mistyped argument do without JAX.
    import jax

    from amodal_jax.build import build_detector
    from amodal_jax.checkpoint import Kind, evaluation_folder, load_checkpoint, run_of
    from amodal_jax.evaluate import evaluate_detector

    kind: Kind = "best" if arguments.best else "last"
    run = run_of(arguments.checkpoint, kind=kind)
    if arguments.output is not None:
        output = arguments.output
    elif run is not None:
        output = evaluation_folder(*run)
    else:
        raise ConfigError(
            f"{arguments.checkpoint}: this checkpoint lies in no run directory; name a folder with --output"
        )
    config, variables, step = load_checkpoint(arguments.checkpoint, kind=kind)
    config = override(config, overrides)
    checkpoint = {"directory": str(arguments.checkpoint.absolute()), "kind": run and run[1], "step": step}
    first = jax.process_index() == 0
    if first:
        print(f"checkpoint of step {step}, {config.data.directory}, split {config.data.test_split}", flush=True)
    evaluate_detector(build_detector(config), variables, config, output, checkpoint=checkpoint)
    if first:
        print(f"written to {output}")


if __name__ == "__main__":
    command_line.run(main)
