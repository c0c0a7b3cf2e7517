"""The rows of the tables are the networks of the configurations that bear their names."""

import pytest

from amodal_jax.config_json import override
from configs import load_config
from scripts.studies.tables import TABLES, chosen_tables, distinct_rows

ROWS = distinct_rows(chosen_tables("all"))
NAMED = {
    "mnc": "mnc_r50",
    "fcis": "fcis_r50",
    "orcnn": "orcnn_r50_fpn",
    "mask_rcnn": "mask_rcnn_r50_fpn",
    "asn": "asn_r50_fpn",
    "panet": "panet_r50_fpn",
    "asn_panet": "asn_panet_r50_fpn",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_network_of_its_name(name):
    changed = override(load_config("asn_r50_fpn"), list(ROWS[name].changes))
    named = load_config(NAMED.get(name, f"ablations/{name}"))
    assert (changed.model, changed.evaluation) == (named.model, named.evaluation)


def test_rows_of_one_name_are_one_network():
    for table in TABLES.values():
        assert table.base in {row.name for row in table.rows}
        for row in table.rows:
            assert row.changes == ROWS[row.name].changes
            assert len(row.published) == len(table.figures)


def test_rows_keep_the_sizes_of_the_network_that_they_change():
    tiny = load_config("asn_tiny")
    for row in ROWS.values():
        changed = override(tiny, list(row.changes)).model
        assert (changed.backbone, changed.fpn_channels, changed.input) == (
            tiny.model.backbone,
            tiny.model.fpn_channels,
            tiny.model.input,
        )
        assert (changed.heads.channels, changed.heads.norm) == (tiny.model.heads.channels, tiny.model.heads.norm)
