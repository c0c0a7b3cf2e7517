"""The statistics, on scenes whose figures can be counted by hand and against drawn masks."""

import importlib.util
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from data.kins.annotations import read_annotation_file
from data.orders.overlaps import shared_areas
from data.statistics.image_measures import matched_ious
from data.statistics.statistics import measure, summarise
from data.statistics.statistics_table import statistics_table

ROOT = Path(__file__).parents[3]
DUMMY_DATA = ROOT / "data" / "kins" / "dummy_data"
HEIGHT, WIDTH = 40, 100
CATEGORIES = [{"id": 4, "name": "car"}, {"id": 2, "name": "pedestrian"}]


def polygon(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def entry(id_, amodal, inmodal=None, image_id=1, category_id=4, cluster=1, order=0):
    visible = amodal if inmodal is None else inmodal
    return {
        "id": id_,
        "image_id": image_id,
        "category_id": category_id,
        "a_segm": polygon(*amodal),
        "i_segm": polygon(*visible),
        "a_bbox": [amodal[0], amodal[1], amodal[2] - amodal[0], amodal[3] - amodal[1]],
        "i_bbox": [visible[0], visible[1], visible[2] - visible[0], visible[3] - visible[1]],
        "oco_id": cluster,
        "ico_id": order,
    }


# A row of three, of which each hides a part of the next, one alone, and a second image with nothing in it.
SCENE = [
    entry(1, (0, 0, 20, 20), order=1),
    entry(2, (10, 0, 30, 20), (20, 0, 30, 20), order=2),
    entry(3, (25, 0, 45, 20), (30, 0, 45, 20), order=3),
    entry(4, (60, 10, 80, 30), category_id=2, cluster=2),
]


def write(path, annotations, images=2):
    listed = [{"id": i + 1, "file_name": f"{i:06d}.png", "height": HEIGHT, "width": WIDTH} for i in range(images)]
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": CATEGORIES}))
    return path


def statistics_of(path, **arguments):
    file = read_annotation_file(path)
    return summarise(measure(file, **arguments), file.categories.values())


def test_a_scene_that_can_be_counted_by_hand(tmp_path):
    statistics = statistics_of(write(tmp_path / "a.json", SCENE))
    assert (statistics.images, statistics.instances, statistics.images_without_instances) == (2, 4, 1)
    assert statistics.instances_per_image == 2
    assert statistics.polygon_points_per_instance == 4
    covered = 45 * 20 + 20 * 20
    assert statistics.covered_share == pytest.approx(covered / (2 * HEIGHT * WIDTH))
    assert statistics.mean_covered_share == pytest.approx(covered / (HEIGHT * WIDTH) / 2)
    assert statistics.occluded_share == 0.5
    assert statistics.mean_occlusion_ratio == pytest.approx((0.5 + 0.25) / 4)
    assert statistics.mean_occlusion_ratio_of_occluded == pytest.approx((0.5 + 0.25) / 2)
    assert statistics.classes == {"pedestrian": 1, "car": 3}
    assert statistics.occlusion_level_histogram == (0, 0, 1, 0, 0, 1, 0, 0, 0, 0)
    assert (statistics.clusters, statistics.max_occlusion_orders) == (1, {2: 1})
    assert statistics.highest_stored_orders == {3: 1}
    assert statistics.match_numbers == {0: 1, 1: 2, 2: 1}
    assert statistics.amodal_convexity == pytest.approx(1)
    assert statistics.amodal_simplicity == pytest.approx(np.sqrt(np.pi) / 2)
    assert statistics.kitti is None


def test_without_orders_clusters_are_what_overlaps(tmp_path):
    for release, highest in (("2020", {2: 3}), ("2019", {})):
        name = {"2020": "update_train_2020.json", "2019": "instances_train.json"}[release]
        statistics = statistics_of(DUMMY_DATA / name)
        assert (statistics.images, statistics.instances, statistics.clusters) == (3, 9, 3)
        assert statistics.max_occlusion_orders == {1: 3}
        assert statistics.highest_stored_orders == highest


def test_statistics_of_files_together_are_those_of_one_file(tmp_path):
    moved = [{**annotation, "id": annotation["id"] + 10, "image_id": 2} for annotation in SCENE[:3]]
    first = read_annotation_file(write(tmp_path / "a.json", SCENE, images=1))
    content = json.loads((tmp_path / "a.json").read_text())
    content["annotations"] = moved
    content["images"][0]["id"] = 2
    (tmp_path / "b.json").write_text(json.dumps(content))
    second = read_annotation_file(tmp_path / "b.json")
    both = summarise(measure(first) + measure(second), first.categories.values())
    assert both == statistics_of(write(tmp_path / "c.json", SCENE + moved))


def test_visible_boxes_are_compared_with_kitti(tmp_path):
    labels = tmp_path / "label_2"
    labels.mkdir()
    rest = "1.5 1.6 3.9 0 1.6 20 0"
    (labels / "000000.txt").write_text(
        f"Car 0 0 0 0 0 20 20 {rest}\n"  # the first, exactly
        f"Car 0 2 0 20 0 35 20 {rest}\n"  # the second's visible part is two thirds of it, the third's 5 of 25
        f"Van 0 0 0 90 30 95 35 {rest}\n"  # overlaps nothing
        f"DontCare -1 -1 -10 60 10 80 30 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    kitti = statistics_of(write(tmp_path / "a.json", SCENE), kitti_labels=labels).kitti
    assert (kitti.images, kitti.images_compared, kitti.kitti_objects, kitti.matched) == (1, 1, 3, 2)
    assert kitti.mean_iou == pytest.approx((1 + 2 / 3) / 2)
    assert kitti.share_of_images_over_065 == 1
    assert sum(kitti.image_iou_histogram) == 1
    assert kitti.image_iou_histogram[16] == 1


def test_each_box_is_matched_once_and_the_best_pair_first():
    assert matched_ious([(0, 0, 10, 10), (0, 0, 10, 8)], [(0, 0, 10, 10)]) == [1.0]
    assert matched_ious([(0, 0, 10, 10)], [(20, 0, 30, 10)]) == []
    assert matched_ious([], [(20, 0, 30, 10)]) == []


@given(st.lists(st.integers(0, 2**16 - 1), max_size=5))
def test_shared_areas_are_those_of_the_pixels(codes):
    masks = [np.array([code >> bit & 1 for bit in range(16)], bool).reshape(2, 8) for code in codes]
    expected = [[int((a & b).sum()) for b in masks] for a in masks]
    found = shared_areas([segmentation.encode(mask) for mask in masks])
    np.testing.assert_array_equal(found, np.array(expected, int).reshape(len(masks), len(masks)))


def run(monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location("dataset_script", ROOT / "scripts" / "dataset.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["dataset.py", "statistics", *map(str, arguments)])
    return script.main()


def test_the_command_prints_a_column_for_each_split_and_writes_what_it_is_told(tmp_path, monkeypatch, capsys):
    plots, figures = tmp_path / "plots", tmp_path / "figures.json"
    run(monkeypatch, DUMMY_DATA, "--plots", plots, "--json", figures)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["train", "test", "all", "paper"]
    (row,) = [line for line in lines if line.startswith("  instances per image")]
    assert row.split()[3:] == ["3.00", "3.00", "3.00", "12.53"]
    content = json.loads(figures.read_text())
    assert [content[split]["instances"] for split in ("train", "test", "all")] == [9, 6, 15]
    charts = sorted(path.name for path in plots.iterdir())
    assert charts == ["classes.svg", "match_number.svg", "max_occlusion_order.svg", "occlusion_level.svg"]
    for path in plots.iterdir():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    with pytest.raises(DataError, match="--force"):
        run(monkeypatch, DUMMY_DATA, "--json", figures)
    run(monkeypatch, DUMMY_DATA, "--json", figures, "--force")


def test_labels_that_fit_no_image_are_an_error(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="is no folder"):
        run(monkeypatch, DUMMY_DATA, "--kitti-labels", tmp_path / "nowhere")
    with pytest.raises(DataError, match="no label file of these images"):
        run(monkeypatch, DUMMY_DATA, "--kitti-labels", tmp_path)


def test_the_table_has_the_paper_s_figures_beside_its_own(tmp_path):
    table = statistics_table({"a": statistics_of(write(tmp_path / "a.json", SCENE))})
    figures = {line.rsplit(maxsplit=3)[0].strip(): line.split() for line in table.splitlines() if line}
    assert [words[-2:] for name, words in figures.items() if name.startswith("pedestrian")] == [["10.7", "%"]]
    assert "KITTI" not in table
