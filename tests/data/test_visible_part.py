"""What a missing inmodal mask means: all of the object, nothing of it, or what another field says."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax import segmentation
from data.kins import problems as kinds
from data.kins.annotations import KEYS
from data.kins.instances import read_instance
from data.kins.visible_part import visible_part

HEIGHT, WIDTH = 30, 40
SHORT, SIZE = f"inmodal mask: {segmentation.POLYGON_TOO_SHORT}", f"inmodal mask: {segmentation.SIZE_DIFFERS}"


def mask(x1, y1, x2, y2):
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[y1:y2, x1:x2] = True
    return segmentation.encode(pixels)


WHOLE, LEFT, RIGHT, NOTHING = mask(5, 5, 25, 15), mask(5, 5, 15, 15), mask(15, 5, 25, 15), mask(0, 0, 0, 0)
TWO_POINTS = [[7, 7, 8, 8]]
OF_ANOTHER_SIZE = {"size": [2, 2], "counts": [4]}


@pytest.mark.parametrize("visible", [None, [], {}, TWO_POINTS, [[7, 7]], [[]], OF_ANOTHER_SIZE, "x"])
def test_areas_settle_what_was_not_drawn(visible):
    def seen(visible_area, amodal_area=200):
        return visible_part(WHOLE, visible, visible_area=visible_area, amodal_area=amodal_area)

    for area in (None, 200, 200.0, 191, "0", float("nan"), -1, True):
        found, problems = seen(area)
        assert found == WHOLE
        assert problems[-1] in (kinds.INMODAL_MISSING, kinds.INMODAL_UNREADABLE)
    for area in (0, 0.0, 0.4):
        found, problems = seen(area)
        assert found == NOTHING
        assert problems[-1] == kinds.INMODAL_EMPTY
    for area in (1, 50, 150):
        found, problems = seen(area)
        assert found == NOTHING
        assert problems[-1] == kinds.INMODAL_UNKNOWN
    # Of an object's area that the file does not give, its pixels are the measure.
    for amodal_area in (None, 0, "200"):
        assert seen(199, amodal_area)[0] == WHOLE
        assert seen(0, amodal_area)[0] == NOTHING
        assert seen(100, amodal_area)[1][-1] == kinds.INMODAL_UNKNOWN


def test_two_points_are_no_flaw_of_what_is_hidden_and_one_of_all_else():
    assert visible_part(WHOLE, TWO_POINTS, visible_area=0)[1] == [kinds.INMODAL_EMPTY]
    assert visible_part(WHOLE, TWO_POINTS, visible_area=200)[1] == [SHORT, kinds.INMODAL_UNREADABLE]
    assert visible_part(WHOLE, TWO_POINTS, visible_area=90)[1] == [SHORT, kinds.INMODAL_UNKNOWN]
    assert visible_part(WHOLE, OF_ANOTHER_SIZE, visible_area=0)[1] == [SIZE, kinds.INMODAL_EMPTY]


def test_what_is_drawn_is_what_is_seen_whatever_the_areas_say():
    for area in (None, 0, 100, 200):
        assert visible_part(WHOLE, LEFT, hidden=LEFT, occlusion_rate=1, visible_area=area) == (LEFT, [])
    assert visible_part(WHOLE, NOTHING, visible_area=200) == (NOTHING, [kinds.INMODAL_EMPTY])


@pytest.mark.parametrize("visible", [None, [], TWO_POINTS, OF_ANOTHER_SIZE])
def test_what_is_hidden_says_what_is_seen(visible):
    found, problems = visible_part(WHOLE, visible, hidden=LEFT, occlusion_rate=0)
    assert found == RIGHT
    assert set(problems) <= {SHORT, SIZE}
    assert visible_part(WHOLE, visible, hidden=WHOLE)[0] == NOTHING
    assert visible_part(WHOLE, visible, hidden=OF_ANOTHER_SIZE)[0] == WHOLE


def test_the_share_that_is_hidden_says_it_as_well():
    assert visible_part(WHOLE, None, occlusion_rate=0) == (WHOLE, [kinds.INMODAL_MISSING])
    assert visible_part(WHOLE, None, occlusion_rate=1.0) == (NOTHING, [kinds.INMODAL_EMPTY])
    assert visible_part(WHOLE, None, occlusion_rate=0.5) == (NOTHING, [kinds.INMODAL_UNKNOWN])
    for no_share in (None, 50, -1, "1", float("nan")):
        assert visible_part(WHOLE, None, occlusion_rate=no_share)[0] == WHOLE


@given(st.integers(1, 200), st.floats(0, 300))
def test_nothing_is_called_visible_that_its_area_calls_hidden(amodal_area, visible_area):
    found, _ = visible_part(WHOLE, None, visible_area=visible_area, amodal_area=amodal_area)
    about_all = visible_area > 0 and visible_area >= 0.95 * amodal_area - 1
    assert found == (WHOLE if about_all else NOTHING)


@pytest.mark.parametrize("inmodal", [[], TWO_POINTS, None])
def test_a_hidden_object_of_kins_is_hidden(inmodal):
    polygon = [[5, 5, 25, 5, 25, 15, 5, 15]]
    annotation = {"id": 1, "category_id": 4, "a_segm": polygon, "a_bbox": [5, 5, 20, 10], "a_area": 200, "i_area": 0}
    annotation |= {"i_segm": inmodal, "i_bbox": [0, 0, 0, 0], "oco_id": 1, "ico_id": 2}
    instance, problems = read_instance(annotation, KEYS["2020"], HEIGHT, WIDTH)
    assert problems == [kinds.INMODAL_EMPTY]
    assert instance.occlusion_ratio == 1
    assert instance.inmodal == NOTHING
    assert instance.inmodal_box == (0, 0, 0, 0)
    # The files of 2019 have no such area: none drawn is all that they say.
    old = {
        "id": 1,
        "category_id": 4,
        "segmentation": polygon,
        "bbox": [5, 5, 20, 10],
        "area": 0,
        "inmodal_seg": inmodal,
    }
    instance, _ = read_instance(old, KEYS["2019"], HEIGHT, WIDTH)
    assert instance.occlusion_ratio == 0


def content(inmodal, area):
    """A car in front of a van, whose inmodal mask and its area are given."""
    near = {"a_segm": [[5, 5, 25, 5, 25, 25, 5, 25]], "a_bbox": [5, 5, 20, 20], "a_area": 400}
    far = {"a_segm": [[8, 8, 20, 8, 20, 20, 8, 20]], "a_bbox": [8, 8, 12, 12], "a_area": 144}
    near |= {"i_segm": near["a_segm"], "i_bbox": near["a_bbox"], "i_area": 400, "category_id": 4, "ico_id": 1}
    far |= {"i_segm": inmodal, "i_bbox": [0, 0, 0, 0], "i_area": area, "category_id": 7, "ico_id": 2}
    return {
        "images": [{"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"id": i, "image_id": 1, "oco_id": 1, **one} for i, one in enumerate((near, far), start=1)],
        "categories": [{"id": 4, "name": "car"}, {"id": 7, "name": "van"}],
    }


@pytest.mark.parametrize("inmodal", [[], TWO_POINTS])
def test_every_command_takes_it_for_hidden(dataset, tmp_path, inmodal):
    source = tmp_path / "source.json"
    source.write_text(json.dumps(content(inmodal, 0)))

    def written(*words):
        out = tmp_path / "-".join(words)
        assert dataset(*words, source, "--out", out, "--workers", 1)[0] == 0
        return json.loads(out.read_text())["annotations"]

    (_, van) = written("orders")
    assert (van["i_area"], van["i_bbox"], van["i_segm"], van["ico_id"]) == (0, [0, 0, 0, 0], NOTHING, 2)
    assert [one["id"] for one in written("to-coco", "--masks", "amodal")] == [1, 2]
    assert [one["id"] for one in written("to-coco", "--masks", "inmodal")] == [1]
    code, printed, _ = dataset("check", source, "--fix", tmp_path / "fixed.json")
    assert code == 0
    assert "1 x inmodal mask without a pixel" in printed
    assert json.loads((tmp_path / "fixed.json").read_text())["annotations"][1]["i_segm"] == inmodal
    dataset("statistics", source, "--json", tmp_path / "figures", "--workers", 1)
    assert json.loads((tmp_path / "figures").read_text())["source"]["mean_occlusion_ratio"] == 0.5


def test_what_areas_leave_open_is_an_error_that_orders_mend(dataset, tmp_path):
    far = content([], 0)["annotations"][1] | {"a_segm": [[8, 8, 32, 8, 32, 20, 8, 20]], "a_bbox": [8, 8, 24, 12]}
    damaged = content([], 0)
    damaged["annotations"][1] = far | {"a_area": 288, "i_area": 84}
    source, fixed = tmp_path / "source.json", tmp_path / "fixed.json"
    source.write_text(json.dumps(damaged))
    code, printed, _ = dataset("check", source)
    assert code == 1
    assert f"error: 1 x {kinds.INMODAL_UNKNOWN}" in printed
    assert dataset("check", source, "--fix", fixed)[0] == 0
    van = json.loads(fixed.read_text())["annotations"][1]
    assert van["i_segm"] == mask(25, 8, 32, 20)
    assert van["i_area"] == 84
