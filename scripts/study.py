"""Trains and evaluates the rows of a table of the paper under one budget, from several seeds, and writes the table.

python scripts/study.py TABLE --dataset DIR [--seeds N] [--init CHECKPOINT] [--config NAME] [--out DIR]

TABLE is table4 (systems), table5 (branches and places of fusion), table6 (the occlusion branch's threshold), table7
(the parts of Multi-Level Coding), or all. Every row is a change of the configuration NAME; further options, such as
--train.steps 900, are of all rows alike. A row and a seed is one training (scripts/train.py) and its evaluation, a
folder of OUT/runs. What is done is skipped, and what was begun goes on where it stopped, so that the same command is
typed again after a stop; a row that fails is told, and the others go on. Several processes or machines may work on one
OUT. Before it starts the command says what it will take, from a measured step.

For a SLURM array, whose jobs all see OUT: --row I does one training alone, --plan says how many there are. Then the
command without --row writes OUT/TABLE.md, TABLE.json and TABLE.html: mean and deviation over seeds, and differences
from the base row with 95 % intervals, over seeds and over test images.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.errors import ConfigError


def main() -> int:
    """Reads the command line and works through the jobs."""
    with command_line.importing():
        from amodal_jax.config_json import override
        from configs import config_names, load_config
        from scripts.studies.jobs import Settings, all_jobs, keep_settings
        from scripts.studies.tables import TABLES, chosen_tables, distinct_rows

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("table", metavar="TABLE", choices=[*TABLES, "all"], help=", ".join([*TABLES, "all"]))
    parser.add_argument("--dataset", metavar="DIR", required=True, help="the built dataset")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each row (%(default)s)")
    parser.add_argument("--init", metavar="CHECKPOINT", help="whose weights every training starts from")
    parser.add_argument(
        "--config", default="asn_r50_fpn", metavar="NAME", help=f"%(default)s, or of {', '.join(config_names())}"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/study"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--row", type=int, metavar="I", help="the one training that --plan gives this number")
    parser.add_argument("--plan", action="store_true", help="say what there is to do and what it takes, and end")
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="of the bootstrap (%(default)s)")
    arguments, overrides = parser.parse_known_args()
    for name in ("seeds", "samples"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name} is {getattr(arguments, name)}; it has to be positive")
    dataset = str(Path(arguments.dataset).expanduser().absolute())
    init = None if arguments.init is None else str(Path(arguments.init).expanduser().absolute())
    settings = Settings(arguments.config, dataset, init, tuple(overrides))
    config = override(load_config(arguments.config), [*overrides, "--data.directory", dataset])
    tables = chosen_tables(arguments.table)
    rows = distinct_rows(tables)
    for row in rows.values():
        override(config, list(row.changes))  # what does not fit is refused before anything is trained
    out = arguments.out.expanduser().absolute()
    jobs = all_jobs(rows.values(), arguments.seeds, out, settings)
    if arguments.row is not None and not 0 <= arguments.row < len(jobs):
        raise ConfigError(f"--row is {arguments.row}; there are the trainings 0 to {len(jobs) - 1}")

    with command_line.importing():
        from scripts.studies.work import finish, plan

    command_line.keep_compilations()
    keep_settings(out, settings)
    if arguments.row is None:
        plan(jobs, config)
    if arguments.plan:
        return 0
    command = shlex.join(["python", "scripts/study.py", *sys.argv[1:]])
    if arguments.row is not None:
        return finish([jobs[arguments.row]], config, (), out, arguments.samples, command)
    return finish(jobs, config, tables, out, arguments.samples, command)


if __name__ == "__main__":
    command_line.run(main)
