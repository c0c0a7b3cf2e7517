"""Evaluates a checkpoint on the test split: the paper's figures, and COCO result files.

python scripts/evaluate.py --checkpoint DIR [--best] [--output DIR] [--data.FIELD VALUE ...]

The configuration comes from the checkpoint; its data and evaluation sections can be changed here. Writes metrics.json,
detections_amodal.json and detections_inmodal.json.
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
        "--output", type=Path, metavar="DIR", help="the folder to write; default: evaluation in the run"
    )
    command_line.add_process_arguments(parser)
    arguments, overrides = parser.parse_known_args()
    for name in overrides:
        if name.startswith("--") and not name.startswith(("--data.", "--evaluation.")):
            raise ConfigError(
                f"{name.partition('=')[0]} cannot be set: the network is the checkpoint's; "
                "only --data.FIELD and --evaluation.FIELD can be changed"
            )
    command_line.keep_compilations()
    command_line.join_processes(arguments)
    # Imported here, so that --help and a mistyped argument do without JAX.
    import jax

    from amodal_jax.build import build_detector
    from amodal_jax.checkpoint import load_checkpoint, run_directory
    from amodal_jax.evaluate import evaluate_detector

    config, variables, step = load_checkpoint(arguments.checkpoint, kind="best" if arguments.best else "last")
    config = override(config, overrides)
    output = arguments.output or run_directory(arguments.checkpoint) / "evaluation"
    first = jax.process_index() == 0
    if first:
        print(f"checkpoint of step {step}, {config.data.directory}, split {config.data.test_split}", flush=True)
    evaluate_detector(build_detector(config), variables, config, output)
    if first:
        print(f"written to {output}")


if __name__ == "__main__":
    command_line.run(main)
