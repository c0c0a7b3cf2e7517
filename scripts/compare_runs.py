"""Prints a figure of several runs' periodic evaluations beside each other, and draws its curves.

python scripts/compare_runs.py RUN ... [--figure amodal/AP50] [--out curves.svg]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax import command_line


def main() -> None:
    """Prints the table, and writes the chart if one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the --workdir of a training")
    parser.add_argument("--figure", default="amodal/AP50", help="as metrics.jsonl calls it (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.svg", help="where to draw the curves")
    arguments = parser.parse_args()
    with command_line.importing():
        from amodal_jax.atomic_file import make_folder, write_atomically
        from amodal_jax.compare_runs import evaluated_figures, table
        from amodal_jax.line_chart import line_chart_image

    figures = evaluated_figures(arguments.runs, arguments.figure)
    print(f"{arguments.figure} on the test split, %, by training step")
    print(table(figures))
    if arguments.out:
        percent = {name: {step: 100 * value for step, value in series.items()} for name, series in figures.items()}
        make_folder(arguments.out.parent)
        chart = line_chart_image(f"{arguments.figure} on the test split by training step, %", percent)
        write_atomically(arguments.out, chart)
        print(f"curves: {arguments.out}")


if __name__ == "__main__":
    command_line.run(main)
