"""The figures by occlusion as they are printed and reported."""

from amodal_jax.evaluation.metrics import evaluate_results
from amodal_jax.evaluation.occlusion_tables import occlusion_lines, occlusion_tables
from tests.evaluation.test_by_occlusion import rectangle, results_of, truth_of
from tests.helpers.slow_evaluation import Thing


def test_the_tables_show_each_figure_in_its_place():
    """A car of 8 columns, 3 of them hidden, found as 7; and one that is whole, and not found."""
    hidden = Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 5, 4))
    whole = Thing(2, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 8, 4))
    found = Thing(1, 4, rectangle(0, 0, 7, 4), rectangle(0, 0, 5, 4), 0.9)
    metrics = evaluate_results(truth_of([hidden, whole]), results_of([found]))
    rows = {line.rpartition("  ")[0].split("  ")[0]: line.split() for line in occlusion_lines(metrics)}
    # 7 of 8 columns pass eight of the ten thresholds; five eighths are visible, which is more than 60 %.
    assert rows["Amodal Seg"][-3:] == ["80.0", "80.0", "-"]
    assert rows["AP, Amodal Seg"][-5:] == ["0.0", "-", "80.0", "-", "-"]
    assert rows["AP, Inmodal Seg"][-5:] == ["0.0", "-", "100.0", "-", "-"]
    assert rows["IoU, whole"][-5:] == ["-", "-", "87.5", "-", "-"]
    assert rows["IoU, hidden part"][-5:] == ["-", "-", "66.7", "-", "-"]
    assert rows["Objects matched"][-5:] == ["0.0", "-", "100.0", "-", "-"]
    assert rows["All of them"][-3:] == ["87.5", "100.0", "66.7"]
    assert "Mean IoU of the 1 objects that boxes match, %" in occlusion_lines(metrics)


def test_what_has_no_figure_has_no_row_and_no_table():
    car = Thing(1, 4, rectangle(0, 0, 8, 4), rectangle(0, 0, 5, 4))
    results = results_of([Thing(1, 4, car.whole, car.visible, 0.9)])
    assert occlusion_tables(evaluate_results(truth_of([car]), {"det": results["det"]})) == []
    tables = occlusion_tables(evaluate_results(truth_of([car]), {kind: results[kind] for kind in ("det", "amodal")}))
    assert [list(table.rows) for table in tables] == [
        ["IoU, whole", "IoU, hidden part", "Objects matched"],
        ["All of them"],
    ]
