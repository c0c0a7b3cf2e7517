"""Prints a figure of several runs' periodic evaluations beside each other, and draws its curves."""

import argparse
from pathlib import Path

from amodal_jax.cli import command_line

FIELDS: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the --workdir of a training")
    parser.add_argument("--figure", default="amodal/AP50", help="as metrics.jsonl calls it (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.svg", help="where to draw the curves")


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints the table, and writes the chart if one is asked for."""
    with command_line.importing():
        from amodal_jax.files.atomic import make_folder, write_atomically
        from amodal_jax.visualization.charts import line_chart_image
        from amodal_jax.visualization.compare_runs import evaluated_figures, table

    figures = evaluated_figures(arguments.runs, arguments.figure)
    print(f"{arguments.figure} on the test split, %, by training step")
    print(table(figures))
    if arguments.out:
        percent = {name: {step: 100 * value for step, value in series.items()} for name, series in figures.items()}
        make_folder(arguments.out.parent)
        chart = line_chart_image(f"{arguments.figure} on the test split by training step, %", percent)
        write_atomically(arguments.out, chart)
        print(f"curves: {arguments.out}")
