"""The figures by occlusion as tables, for the terminal and the report alike."""

from typing import Any, NamedTuple

from amodal_jax.evaluation.by_occlusion import HIDING_DEGREES, VISIBLE_RATIOS
from amodal_jax.evaluation.metrics import KINDS

_PARTS = {"amodal": "IoU, whole", "inmodal": "IoU, visible part", "hidden": "IoU, hidden part"}


class Table(NamedTuple):
    """Fractions in rows of one length."""

    caption: str
    columns: list[str]
    rows: dict[str, list[float | None]]


def occlusion_tables(metrics: dict[str, Any]) -> list[Table]:
    """The tables of an evaluation's figures by occlusion; rows and tables without any figure are left out.

    Args:
      metrics: as `metrics.json` has them; what is no figure by occlusion is not read.
    """
    ratios = {f"{ratio:g}": f"to {ratio:.0%}" for ratio in VISIBLE_RATIOS}
    degrees = {degree: f"{degree.replace('_to_', ' to ')}%" for degree in HIDING_DEGREES}
    by_ratio = {title: f"{kind}/AP_visible_ratio" for kind, title in KINDS.items()}
    by_degree = {f"AP, {title}": f"{kind}/AP_by_hiding" for kind, title in KINDS.items()}
    by_degree |= {title: f"{part}/IoU_by_hiding" for part, title in _PARTS.items()}
    by_degree |= {"Objects matched": "matched_by_hiding"}
    whole = [metrics.get(f"{part}/IoU") for part in _PARTS]
    matches = f"{metrics.get('iou_matches', 0):,.0f}"
    tables = [
        _table("AP by visible share, % (APs, APm, APl of VRSP's and AISFormer's code)", ratios, by_ratio, metrics),
        _table("AP, and mean IoU of what boxes match, by hidden share, %", degrees, by_degree, metrics),
        Table(f"Mean IoU of the {matches} objects that boxes match, %", list(_PARTS.values()), {"All of them": whole}),
    ]
    return [table for table in tables if any(value is not None for row in table.rows.values() for value in row)]


def _table(caption: str, columns: dict[str, str], rows: dict[str, str], metrics: dict[str, Any]) -> Table:
    """A table of the figures "ROW/COLUMN", without rows that have none."""
    values = {title: [metrics.get(f"{prefix}/{name}") for name in columns] for title, prefix in rows.items()}
    return Table(
        caption, list(columns.values()), {title: row for title, row in values.items() if row != [None] * len(row)}
    )


def occlusion_lines(metrics: dict[str, float]) -> list[str]:
    """The lines of the tables as text, in per cent, "-" where there is no figure."""
    lines = []
    for table in occlusion_tables(metrics):
        head = max(map(len, table.rows)) + 2
        widths = [max(len(column), 6) + 2 for column in table.columns]
        lines += ["", table.caption]
        lines.append(" " * head + "".join(name.rjust(width) for name, width in zip(table.columns, widths, strict=True)))
        for title, row in table.rows.items():
            cells = ("-" if value is None else f"{100 * value:.1f}" for value in row)
            lines.append(
                title.ljust(head) + "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            )
    return lines
