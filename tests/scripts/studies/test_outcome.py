"""From the runs' figures to the table: means, paired differences, what is missing, and the page in which it stands."""

import json

import numpy as np
import pytest

from scripts.studies.outcome import table_outcome
from scripts.studies.report import markdown, write_table
from scripts.studies.tables import Row, Table
from tests.helpers.browser import Browser

TABLE = Table(
    "table9",
    "Table 9: made up <b>for this</b>",
    "base",
    (Row("base", "Base", (10.0, None)), Row("new", "New | <i>", (12.0, 8.0)), Row("boxes", "Boxes", (9.0, None))),
    ("det/AP", "amodal/AP"),
)
RUNS = {
    ("base", 0): {"det/AP": 0.20, "amodal/AP": 0.10},
    ("base", 1): {"det/AP": 0.22, "amodal/AP": 0.12},
    ("new", 0): {"det/AP": 0.23, "amodal/AP": 0.10},
    ("new", 1): {"det/AP": 0.26, "amodal/AP": 0.11},
    ("new", 2): {"det/AP": 0.90, "amodal/AP": 0.90},
    ("boxes", 0): {"det/AP": 0.25},
}
RESAMPLED = {key: {"det/AP": np.linspace(0, 1, 101) * run["det/AP"]} for key, run in RUNS.items()}


@pytest.fixture
def outcomes():
    return table_outcome(TABLE, RUNS, RESAMPLED, {"boxes": "seed 1: out of memory"})


def test_differences_are_taken_seed_by_seed(outcomes):
    base, new, boxes = outcomes
    assert base.spreads["det/AP"].mean == pytest.approx(21.0)
    assert base.over_seeds == {}
    assert new.seeds == (0, 1, 2)
    assert new.spreads["det/AP"].mean == pytest.approx((23 + 26 + 90) / 3)
    # The third seed has no partner.
    assert new.over_seeds["det/AP"].mean == pytest.approx(3.5)
    assert new.over_seeds["amodal/AP"].mean == pytest.approx(-0.5)
    assert new.over_images["det/AP"].mean == pytest.approx(3.5)
    assert new.over_images["det/AP"].high == pytest.approx(3.5 * 0.975)
    assert "amodal/AP" not in new.over_images  # no samples of it
    assert "amodal/AP" not in boxes.values
    assert boxes.over_seeds["det/AP"].low is None


def test_the_table_in_words(outcomes):
    text = markdown(TABLE, outcomes, {"machine": "this one"})
    lines = text.splitlines()
    assert "| Base | 2 | 21.0 ± 1.4 | 11.0 ± 1.4 | base | base | 10.0 | - |" in lines
    (new,) = (line for line in lines if line.startswith("| New"))
    assert new.startswith("| New \\| <i> | 3 | 46.3 ± 37.8 | 37.0 ± 45.9 | +3.5 [")
    assert "| Boxes (failed: seed 1: out of memory) | 1 | 25.0 | - | +5.0 [" in text
    assert "- machine: this one" in lines


def test_the_files(outcomes, tmp_path):
    files = write_table(tmp_path, TABLE, outcomes, {"machine": "<script>alert(1)</script>"})
    assert [file.name for file in files] == ["table9.md", "table9.json", "table9.html"]
    values = json.loads(files[1].read_text())
    assert values["rows"][1]["values"]["det/AP"] == pytest.approx([23, 26, 90])
    page = files[2].read_text()
    assert "<i>" not in page
    assert "<script" not in page
    assert page.count("<figure") == 2


def test_the_page_in_a_browser(outcomes, tmp_path):
    file = write_table(tmp_path, TABLE, outcomes, {"machine": "this one"})[2]
    with Browser(tmp_path / "profile") as browser:
        browser.open(file)
        assert browser.messages == []
        assert [url for url in browser.requests if not url.startswith("data:")] == [file.resolve().as_uri()]
        assert browser.evaluate("document.querySelectorAll('tbody tr').length") == 3
        assert browser.evaluate("document.querySelectorAll('circle').length") == 6 + 5
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
