"""A study's table as markdown, as json and as a page that loads nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.visualization.pages import render
from scripts.studies.dot_chart import TEMPLATES, dot_chart
from scripts.studies.intervals import Interval, Spread
from scripts.studies.outcome import RowOutcome
from scripts.studies.tables import FIGURES, Table

NOTE = (
    "Figures are per cent on the test split of the dataset named below: the mean over seeds, with the standard "
    "deviation of one seed. A difference is that from the base row, seed by seed; in brackets its 95 % interval over "
    "seeds (Student's t), then over test images (bootstrap, the trainings as they are). The paper's figures are of "
    "KINS, with ImageNet's weights to start from, and stand beside for their order alone."
)


def write_table(folder: Path, table: Table, outcomes: list[RowOutcome], facts: dict[str, Any]) -> list[Path]:
    """Writes `TABLE.md`, `TABLE.json` and `TABLE.html`.

    Args:
      folder: where they go.
      table: which one it is.
      outcomes: of its rows.
      facts: what the figures are of, for people: dataset, steps, versions, machine, hours, command.

    Returns:
      The files.
    """
    make_folder(folder)
    values = {
        "table": table.name,
        "base": table.base,
        "facts": facts,
        "rows": [dataclasses.asdict(outcome) for outcome in outcomes],
    }
    texts = {
        "md": markdown(table, outcomes, facts),
        "json": json.dumps(values, indent=2) + "\n",
        "html": _page(table, outcomes, facts),
    }
    files = []
    for ending, text in texts.items():
        files.append(folder / f"{table.name}.{ending}")
        write_atomically(files[-1], text)
    return files


def markdown(table: Table, outcomes: list[RowOutcome], facts: dict[str, Any]) -> str:
    """The table for a README or a terminal."""
    head, *rows = _cells(table, outcomes)
    lines = [f"## {table.title}", "", _markdown_row(head), _markdown_row(["---"] * len(head))]
    lines += [_markdown_row(row) for row in rows]
    lines += ["", NOTE, "", *(f"- {name}: {value}" for name, value in facts.items())]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cells(table: Table, outcomes: list[RowOutcome]) -> list[list[str]]:
    """The table's head, then its rows."""
    titles = [FIGURES[figure] for figure in table.figures]
    rows = [
        ["model", "seeds", *titles, *(f"difference, {title}" for title in titles), *(f"paper, {t}" for t in titles)]
    ]
    for outcome in outcomes:
        base = outcome.row.name == table.base
        remark = f" (failed: {outcome.failure})" if outcome.failure else ""
        differences = [
            "base" if base else _difference(outcome.over_seeds.get(figure), outcome.over_images.get(figure))
            for figure in table.figures
        ]
        rows.append(
            [
                outcome.row.title + remark,
                str(len(outcome.seeds)),
                *(_value(outcome.spreads.get(figure)) for figure in table.figures),
                *differences,
                *("-" if figure is None else f"{figure:.1f}" for figure in outcome.row.published),
            ]
        )
    return rows


def _value(value: Spread | None) -> str:
    if value is None:
        return "-"
    return f"{value.mean:.1f}" if value.deviation is None else f"{value.mean:.1f} ± {value.deviation:.1f}"


def _difference(seeds: Interval | None, images: Interval | None) -> str:
    if seeds is None:
        return "-"
    bounds = [
        f"[{one.low:+.1f}, {one.high:+.1f}]" for one in (seeds, images) if one is not None and one.low is not None
    ]
    return " ".join([f"{seeds.mean:+.1f}", *bounds])


def _page(table: Table, outcomes: list[RowOutcome], facts: dict[str, Any]) -> str:
    head, *rows = _cells(table, outcomes)
    charts = [
        dot_chart(
            f"{FIGURES[figure]}, %: a dot a seed, a bar their mean",
            {outcome.row.title: outcome.values[figure] for outcome in outcomes if figure in outcome.values},
        )
        for figure in table.figures
        if any(figure in outcome.values for outcome in outcomes)
    ]
    return render(
        "table.html", folder=TEMPLATES, title=table.title, head=head, rows=rows, note=NOTE, facts=facts, charts=charts
    )
