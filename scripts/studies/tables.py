"""The tables of the paper that compare networks: their rows, as changes of an ASN, and the paper's figures on KINS."""

import dataclasses

from configs.ablations import CHANGES, NO_OCCLUSION

FIGURES = {"det/AP": "Det", "amodal/AP": "Amodal", "inmodal/AP": "Inmodal", "occlusion_accuracy": "Occlusion accuracy"}
"""What the tables report, by its name in metrics.json."""

PANET = ("--model.neck.kind", "panet", "--model.roi.pooling", "adaptive", "--model.mask.fc-fusion", "true")
ONE_LEVEL = (
    *NO_OCCLUSION,
    *("--model.rpn.pre-nms-train", "6000", "--model.rpn.post-nms-train", "300"),
    *("--model.rpn.pre-nms-test", "6000", "--model.rpn.post-nms-test", "300"),
    *("--evaluation.score-threshold", "0.001", "--evaluation.nms-threshold", "0.3"),
    *("--evaluation.max-detections", "100", "--evaluation.mask-threshold", "0.4"),
)
"""What MNC and FCIS have in common."""
MNC = (
    *ONE_LEVEL,
    "--model.network.kind",
    "mnc",
    "--model.roi.batch-size",
    "64",
    "--model.roi.positive-fraction",
    "0.3",
)
FCIS = (
    *ONE_LEVEL,
    *("--model.network.kind", "fcis", "--model.roi.batch-size", "128", "--model.roi.box-weights", "5.0,5.0,2.0,2.0"),
)
ORCNN = (*NO_OCCLUSION, "--model.mask.kind", "orcnn")


@dataclasses.dataclass(frozen=True)
class Row:
    """A network of a table."""

    name: str
    """The folder of its runs. Rows of several tables that are the same network have the same name."""
    title: str
    """What the paper calls it."""
    published: tuple[float | None, ...]
    """The paper's figures on KINS in per cent, in the order of the table's `figures`; None where it has none."""
    changes: tuple[str, ...] = ()
    """What a command line says to make it of an ASN of any size."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper."""

    name: str
    title: str
    base: str
    """The name of the row that the others are compared with."""
    rows: tuple[Row, ...]
    figures: tuple[str, ...] = ("det/AP", "amodal/AP", "inmodal/AP")


def _mask_rcnn(*published: float | None) -> Row:
    return Row("mask_rcnn", "Mask R-CNN", published, NO_OCCLUSION)


def _fusion(box: int, mask: int, *published: float) -> Row:
    name = f"mlc_{box}_{mask}"
    return Row(name, f"Mask R-CNN + OC + MLC({box},{mask})", published, CHANGES[name])


def _threshold(percent: int, *published: float) -> Row:
    name = f"occlusion_{percent}"
    return Row(name, f"MR + OC({percent}%)", published, CHANGES[name])


def _modification(name: str, title: str, *published: float) -> Row:
    return Row(name, title, published, CHANGES[name])


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "table4",
            "Table 4: systems",
            "mask_rcnn",
            (
                Row("mnc", "MNC", (20.9, 18.5, 16.1), MNC),
                Row("fcis", "FCIS", (25.6, 23.5, 20.8), FCIS),
                Row("orcnn", "ORCNN", (30.9, 29.0, 26.4), ORCNN),
                _mask_rcnn(31.3, 29.3, 26.6),
                Row("asn", "Mask R-CNN + ASN", (32.7, 31.1, 28.7)),
                Row("panet", "PANet", (32.3, 30.4, 27.6), (*NO_OCCLUSION, *PANET)),
                Row("asn_panet", "PANet + ASN", (33.4, 32.2, 29.7), PANET),
            ),
        ),
        Table(
            "table5",
            "Table 5: branches and places of fusion",
            "mask_rcnn",
            (
                Row("inmodal_only", "Mask R-CNN, inmodal", (31.0, None, 26.4), CHANGES["inmodal_only"]),
                Row("amodal_only", "Mask R-CNN, amodal", (31.1, 29.2, None), CHANGES["amodal_only"]),
                _mask_rcnn(31.3, 29.3, 26.6),
                Row("occlusion_5", "Mask R-CNN + OC", (31.9, 30.0, 27.9), CHANGES["occlusion_5"]),
                _fusion(0, 0, 32.5, 31.0, 28.6),
                Row("asn", "Mask R-CNN + OC + MLC(1,1)", (32.7, 31.1, 28.7)),
                _fusion(2, 2, 32.3, 30.6, 28.2),
                _fusion(3, 3, 31.7, 29.8, 28.0),
                _fusion(0, 3, 31.9, 29.8, 27.9),
                _fusion(3, 0, 31.8, 29.7, 27.8),
            ),
        ),
        Table(
            "table6",
            "Table 6: the occlusion branch's threshold",
            "mask_rcnn",
            (
                _mask_rcnn(31.3, 29.3, 26.6, 86.6),
                _threshold(0, 31.7, 29.7, 27.5, 87.1),
                _threshold(5, 31.9, 30.0, 27.9, 87.2),
                _threshold(15, 31.4, 29.6, 27.3, 86.9),
                _threshold(20, 31.2, 29.4, 26.7, 86.6),
            ),
            tuple(FIGURES),
        ),
        Table(
            "table7",
            "Table 7: the parts of Multi-Level Coding",
            "asn",
            (
                _modification("mlc_0111_add", "0111, ADD", 32.1, 30.5, 27.9),
                _modification("mlc_1011_order", "1011, order adjustment", 32.4, 30.6, 28.0),
                _modification("mlc_1011_1_conv", "1011, 1 CONV", 31.9, 30.3, 27.6),
                _modification("mlc_1011_3_conv", "1011, 3 CONV", 32.7, 31.0, 28.6),
                _modification("mlc_1101_add", "1101, ADD", 32.3, 30.6, 28.1),
                _modification("mlc_1110_order", "1110, order adjustment", 32.6, 31.0, 28.5),
                _modification("mlc_1110_1_conv", "1110, 1 CONV", 32.0, 30.1, 27.5),
                _modification("mlc_1110_3_conv", "1110, 3 CONV", 32.6, 31.1, 28.6),
                Row("asn", "1111", (32.7, 31.1, 28.7)),
            ),
        ),
    )
}


def chosen_tables(name: str) -> tuple[Table, ...]:
    """The table of a name, or with "all" every one."""
    return tuple(TABLES.values()) if name == "all" else (TABLES[name],)


def distinct_rows(tables: tuple[Table, ...]) -> dict[str, Row]:
    """The rows of tables by name, each network once, in the order in which they come first."""
    rows: dict[str, Row] = {}
    for table in tables:
        for row in table.rows:
            rows.setdefault(row.name, row)
    return rows
