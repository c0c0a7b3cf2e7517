"""`check`: what is wrong is found and named, what can be mended is, and nothing else is touched."""

import copy
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amodal_jax import segmentation
from amodal_jax.errors import ConfigError, DataError
from data.cocoa.convert import convert
from data.kins import findings as kinds
from data.kins import orders, orders_of_masks, problems
from data.kins.annotations import read_annotation_file
from data.kins.check import check_file
from data.kins.inmodal_masks import inmodal_masks
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from data.kins.orders import clusters_and_orders
from data.kins.polygon_clipping import clip_polygon
from data.kins.sources import Source, find_sources
from tests.data.test_damaged_json import POISON, places

ROOT = Path(__file__).parents[2]
DUMMY_DATA = ROOT / "data" / "kins" / "dummy_data"
HEIGHT, WIDTH = 60, 120
CATEGORIES = [{"id": 1, "name": "cyclist"}, {"id": 2, "name": "pedestrian"}, {"id": 4, "name": "car"}]


def polygon(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def annotation(id_, amodal, inmodal=None, order=0, cluster=1, image_id=1, category_id=4):
    entry = {"id": id_, "image_id": image_id, "category_id": category_id, "oco_id": cluster, "ico_id": order}
    for prefix, (x1, y1, x2, y2) in (("a", amodal), ("i", inmodal or amodal)):
        entry[f"{prefix}_segm"] = polygon(x1, y1, x2, y2)
        entry[f"{prefix}_bbox"] = [x1, y1, x2 - x1, y2 - y1]
        entry[f"{prefix}_area"] = (x2 - x1) * (y2 - y1)
    return entry


def scene():
    """A row of three, of which each hides part of the next, and one alone; all classes have an instance."""
    return {
        "info": {"year": 2020},
        "images": [{"id": 1, "file_name": "000001.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            annotation(1, (0, 0, 30, 30), order=1),
            annotation(2, (15, 0, 45, 30), (30, 0, 45, 30), order=2),
            annotation(3, (35, 0, 65, 30), (45, 0, 65, 30), order=3, category_id=1),
            annotation(4, (80, 10, 110, 50), cluster=2, category_id=2),
        ],
        "categories": copy.deepcopy(CATEGORIES),
    }


def check(content, folder, **arguments):
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return check_file(Source("annotations", path, None), **arguments)


def found(findings):
    """Kinds and ids, but for the gap that KINS' own category ids have."""
    return {(finding.kind, *finding.ids) for finding in findings if finding.kind != kinds.CATEGORY_GAP}


def assert_mended_for_good(report, folder):
    """A second repair changes nothing, and finds what the first said that it left."""
    again = check(report.repair.content, folder, repair=True)
    assert not again.repair.changes
    assert again.repair.content == report.repair.content
    assert found(again.findings) == found(report.repair.left)


def test_a_scene_that_follows_the_rules_has_no_findings(tmp_path):
    report = check(scene(), tmp_path, repair=True)
    assert not found(report.findings)
    assert not report.repair.changes
    assert report.repair.content == scene()


# What is done to the scene: its second annotation, its image, its lists; what is found; what a repair leaves of that.
def spoil_second(**fields):
    def spoil(content):
        content["annotations"][1].update(fields)

    return spoil


def without(key):
    return lambda content: content["annotations"][1].pop(key)


def add(list_name, *entries):
    return lambda content: content[list_name].extend(copy.deepcopy(entries))


def with_empty_runs(x1, y1, x2, y2):
    rle = segmentation.parse(polygon(x1, y1, x2, y2), HEIGHT, WIDTH).rle
    first, *others = segmentation.run_lengths(rle["counts"]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [first, 0, 0, 0, 0, *others]}


RLE_OF_ANOTHER_SIZE = {"size": [3, 3], "counts": [0, 9]}
NOTHING_LEFT, THE_SAME = "nothing left", "the same"
# What follows where a mask is changed, and where the visible half of one that the areas speak of is not drawn.
MEASURED = {kinds.AREA_DISAGREES, "inmodal " + problems.BOX_DISAGREES}
READ_AS_HIDDEN = {(problems.INMODAL_UNKNOWN, 2), (kinds.HIDDEN_UNEXPLAINED, 2)}
CASES = {
    "area": (spoil_second(a_area=3), {(kinds.AREA_DISAGREES, 2)}, NOTHING_LEFT),
    "no area": (without("i_area"), {(kinds.AREA_MISSING, 2)}, NOTHING_LEFT),
    "area that is none": (spoil_second(a_area=10**400), {(kinds.AREA_MISSING, 2)}, NOTHING_LEFT),
    "box": (spoil_second(a_bbox=[0, 0, 50, 50]), {("amodal " + problems.BOX_DISAGREES, 2)}, NOTHING_LEFT),
    "thin box": (spoil_second(i_bbox=[30, 0, 0.5, 30]), {("inmodal " + problems.BOX_UNDER_PIXEL, 2)}, NOTHING_LEFT),
    "no box": (without("a_bbox"), {("amodal " + problems.BOX_UNREADABLE, 2)}, NOTHING_LEFT),
    "huge box": (spoil_second(a_bbox=[0, 0, 10**400, 1]), {("amodal " + problems.BOX_UNREADABLE, 2)}, NOTHING_LEFT),
    "no inmodal mask": (without("i_segm"), READ_AS_HIDDEN, NOTHING_LEFT),
    "two-point polygon": (
        lambda content: content["annotations"][1]["a_segm"].append([1, 2, 3, 4]),
        {(f"amodal mask: {segmentation.POLYGON_TOO_SHORT}", 2)},
        NOTHING_LEFT,
    ),
    "polygon of words": (
        lambda content: content["annotations"][1]["i_segm"].append(["a", "b"]),
        {(f"inmodal mask: {segmentation.POLYGON_UNREADABLE}", 2)},
        NOTHING_LEFT,
    ),
    "polygon outside": (
        spoil_second(a_segm=polygon(15, -20, 45, 30), i_segm=polygon(30, -20, 45, 30), a_bbox=[15, 0, 30, 30]),
        {(f"{which} mask: {segmentation.BEYOND_IMAGE}", 2) for which in ("amodal", "inmodal")},
        NOTHING_LEFT,
    ),
    "inmodal mask of another size": (
        spoil_second(i_segm=RLE_OF_ANOTHER_SIZE),
        {(f"inmodal mask: {segmentation.SIZE_DIFFERS}", 2)} | READ_AS_HIDDEN,
        NOTHING_LEFT,
    ),
    "amodal mask of another size": (
        spoil_second(a_segm=RLE_OF_ANOTHER_SIZE),
        {
            (f"amodal mask: {segmentation.SIZE_DIFFERS}", 2),
            (problems.AMODAL_EMPTY, 2),
            # What is left of its cluster overlaps nothing any more.
            (orders.ORDER_ALONE, 1),
            (orders.ORDER_ALONE, 3),
            (kinds.ORDER_GAP, 1, 3),
            (kinds.HIDDEN_UNEXPLAINED, 3),
        },
        # The orders of the others may be about it, so that they are left.
        THE_SAME,
    ),
    "inmodal mask apart": (
        spoil_second(i_segm=polygon(100, 0, 110, 5), i_bbox=[100, 0, 10, 5], i_area=50),
        {(kinds.INMODAL_APART, 2), (kinds.HIDDEN_UNEXPLAINED, 2)},
        THE_SAME,
    ),
    "inmodal mask beyond": (
        spoil_second(i_segm=polygon(30, 0, 45, 50), i_bbox=[30, 0, 15, 50], i_area=750),
        {(problems.INMODAL_OUTSIDE, 2)},
        NOTHING_LEFT,
    ),
    "no order": (without("ico_id"), {(problems.ORDER_MISSING, 2)}, NOTHING_LEFT),
    "equal orders": (
        spoil_second(ico_id=1),
        {(orders.EQUAL_ORDERS, 1, 2), (kinds.ORDER_GAP, 1, 2, 3), (kinds.HIDDEN_UNEXPLAINED, 2)},
        NOTHING_LEFT,
    ),
    "order 0": (
        spoil_second(ico_id=0),
        {(orders.ZERO_OVERLAPS, 1, 2), (orders.ZERO_OVERLAPS, 2, 3), (kinds.ORDER_GAP, 1, 3)}
        | {(kinds.CLUSTER_APART, 1, 3), (kinds.HIDDEN_UNEXPLAINED, 2)},
        NOTHING_LEFT,
    ),
    "another cluster": (
        spoil_second(oco_id=2),
        {(orders.OTHER_CLUSTERS, 1, 2), (orders.OTHER_CLUSTERS, 2, 3), (kinds.ORDER_GAP, 1, 3)}
        | {(kinds.CLUSTER_APART, 1, 3)},
        NOTHING_LEFT,
    ),
    "order of one alone": (
        lambda content: content["annotations"][3].update(ico_id=2),
        {(orders.ORDER_ALONE, 4)},
        NOTHING_LEFT,
    ),
    "the first is said to be the last": (
        lambda content: content["annotations"][0].update(ico_id=9),
        {(kinds.ORDER_CONTRADICTED, 2, 1), (kinds.ORDER_GAP, 1, 2, 3), (kinds.HIDDEN_UNEXPLAINED, 2)},
        NOTHING_LEFT,
    ),
    "visible where another is": (
        spoil_second(i_segm=polygon(18, 0, 45, 30), i_bbox=[18, 0, 27, 30], i_area=27 * 30),
        {(orders_of_masks.VISIBLE_IN_BOTH, 1, 2)},
        THE_SAME,
    ),
    "hidden by nothing": (
        lambda content: content["annotations"][3].update(
            i_segm=polygon(80, 10, 95, 50), i_bbox=[80, 10, 15, 40], i_area=600
        ),
        {(kinds.HIDDEN_UNEXPLAINED, 4)},
        THE_SAME,
    ),
    "a pixel wide": (
        add("annotations", annotation(5, (70, 0, 71, 40), cluster=3)),
        {(kinds.TINY, 5)},
        THE_SAME,
    ),
    "the same id": (
        add("annotations", annotation(4, (70, 0, 78, 40), cluster=3)),
        {(problems.REPEATED_ID, 4)},
        NOTHING_LEFT,
    ),
    "twice": (
        add("annotations", annotation(9, (80, 10, 110, 50), cluster=2, category_id=2)),
        {(kinds.DUPLICATE, 4, 9)},
        NOTHING_LEFT,
    ),
    "two without any mask": (
        lambda content: content["annotations"].extend(
            {"id": number, "image_id": 1, "category_id": 4} for number in (5, 6)
        ),
        {(problems.AMODAL_MISSING, 5), (problems.AMODAL_MISSING, 6)},
        THE_SAME,
    ),
    "an image that is not listed": (
        add("annotations", annotation(5, (0, 0, 8, 8), image_id=77)),
        {(problems.UNKNOWN_IMAGE, 5)},
        NOTHING_LEFT,
    ),
    "a category of KINS that is not listed": (
        add("annotations", annotation(5, (70, 0, 78, 40), cluster=3, category_id=7)),
        {(problems.UNKNOWN_CATEGORY, 5)},
        NOTHING_LEFT,
    ),
    "a category that nobody knows": (
        add("annotations", annotation(5, (70, 0, 78, 40), cluster=3, category_id=70)),
        {(problems.UNKNOWN_CATEGORY, 5)},
        THE_SAME,
    ),
    "an id in words": (spoil_second(id="two"), {(kinds.ANNOTATION_WITHOUT_ID, "number 1")}, NOTHING_LEFT),
    "an id as text": (spoil_second(id="2"), {(kinds.NUMBER_AS_TEXT, 2)}, NOTHING_LEFT),
    "an image id as text": (spoil_second(image_id="1"), {(kinds.NUMBER_AS_TEXT, 2)}, NOTHING_LEFT),
    "an order as text": (spoil_second(ico_id="2"), {(kinds.NUMBER_AS_TEXT, 2)}, NOTHING_LEFT),
    "an order as text of a fraction": (spoil_second(ico_id=" 2.0 "), {(kinds.NUMBER_AS_TEXT, 2)}, NOTHING_LEFT),
    "an order as a fraction": (spoil_second(ico_id=2.0), {(kinds.NUMBER_AS_FRACTION, 2)}, NOTHING_LEFT),
    "an id as a fraction": (spoil_second(id=2.0), {(kinds.NUMBER_AS_FRACTION, 2)}, NOTHING_LEFT),
    "an id of 0": (spoil_second(id=0), {(kinds.ID_BELOW_ONE, 0)}, NOTHING_LEFT),
    "iscrowd that is": (spoil_second(iscrowd=1.0), set(), THE_SAME),
    "iscrowd as text": (spoil_second(iscrowd="0"), {(problems.CROWD_UNREADABLE, 2)}, NOTHING_LEFT),
    "iscrowd in words": (spoil_second(iscrowd="False"), {(problems.CROWD_UNREADABLE, 2)}, NOTHING_LEFT),
    "iscrowd of 2": (spoil_second(iscrowd=2), {(problems.CROWD_UNREADABLE, 2)}, THE_SAME),
    "iscrowd of NaN": (spoil_second(iscrowd=float("nan")), {(problems.CROWD_UNREADABLE, 2)}, THE_SAME),
    "runs of no pixel": (
        spoil_second(i_segm=with_empty_runs(30, 0, 45, 30)),
        {(kinds.EMPTY_RUNS, 2)},
        NOTHING_LEFT,
    ),
    "hidden, by two points": (
        spoil_second(i_segm=[[30, 0, 31, 1]], i_bbox=[0, 0, 0, 0], i_area=0),
        {(problems.INMODAL_EMPTY, 2), (kinds.HIDDEN_UNEXPLAINED, 2)},
        THE_SAME,
    ),
    "no image id": (
        lambda content: content["annotations"][3].pop("image_id"),
        {(kinds.ANNOTATION_UNUSABLE, 4), (kinds.CATEGORY_UNUSED, 2)},
        None,
    ),
    "an entry that is none": (add("annotations", 7), {(kinds.ENTRY_UNREADABLE, "number 4")}, NOTHING_LEFT),
    "an image twice": (
        lambda content: content["images"].append(dict(content["images"][0])),
        {(kinds.IMAGE_ID_TWICE, 1)},
        NOTHING_LEFT,
    ),
    "two images of an id": (
        add("images", {"id": 1, "file_name": "b.png", "height": 9, "width": 9}),
        {(kinds.IMAGE_ID_TWICE, 1)},
        THE_SAME,
    ),
    "an image without id": (
        add("images", {"file_name": "b.png", "height": 9, "width": 9}),
        {(kinds.IMAGE_UNUSABLE, "number 1")},
        NOTHING_LEFT,
    ),
    "an image without annotations, of the same name in another folder": (
        add("images", {"id": 2, "file_name": "x/000001.png", "height": 9, "width": 9}),
        {(kinds.IMAGE_EMPTY, 2)},
        THE_SAME,
    ),
    "an image without annotations, of the same name": (
        add("images", {"id": 2, "file_name": ".\\000001.png", "height": 9, "width": 9}),
        {(kinds.IMAGE_EMPTY, 2), (kinds.FILE_NAME_TWICE, 1, 2)},
        THE_SAME,
    ),
    "an image without a width": (
        lambda content: content["images"][0].pop("width"),
        {(kinds.IMAGE_UNUSABLE, 1)},
        THE_SAME,
    ),
    "an image without a name": (
        lambda content: content["images"][0].pop("file_name"),
        {(kinds.IMAGE_UNUSABLE, 1)},
        THE_SAME,
    ),
    "a category twice": (add("categories", {"id": 4, "name": "car"}), {(kinds.CATEGORY_UNUSABLE, 4)}, NOTHING_LEFT),
    "two names of a category": (
        add("categories", {"id": 4, "name": "bus"}),
        {(kinds.CATEGORY_UNUSABLE, 4)},
        THE_SAME,
    ),
    "an unused category that KINS has not": (
        add("categories", {"id": 5, "name": "Car"}),
        {(kinds.CATEGORY_UNUSED, 5), (kinds.CATEGORY_FOREIGN, 5)},
        THE_SAME,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found_and_mended(name, tmp_path):
    spoil, expected, leaves = CASES[name]
    content = scene()
    spoil(content)
    report = check(content, tmp_path, repair=True)
    assert found(report.findings) == expected
    assert found(check(content, tmp_path).findings) == expected
    if leaves == NOTHING_LEFT:
        assert not found(report.repair.left)
        assert report.repair.changes
        assert {change.why for change in report.repair.changes} <= {kind for kind, *_ in expected} | MEASURED
    if leaves == THE_SAME:
        assert found(report.repair.left) == expected
        assert not report.repair.changes
    assert_mended_for_good(report, tmp_path)


def test_mended_orders_and_masks_are_what_they_were(tmp_path):
    for name in ("equal orders", "order 0", "another cluster", "no order", "the first is said to be the last"):
        content = scene()
        CASES[name][0](content)
        mended = check(content, tmp_path, repair=True).repair.content["annotations"]
        assert [entry["ico_id"] for entry in mended] == [1, 2, 3, 0], name
        assert len({entry["oco_id"] for entry in mended[:3]}) == 1
        assert mended[3]["oco_id"] != mended[0]["oco_id"]
    content = scene()
    CASES["no inmodal mask"][0](content)
    mended = check(content, tmp_path, repair=True).repair.content["annotations"][1]
    expected, _ = segmentation.parse(scene()["annotations"][1]["i_segm"], HEIGHT, WIDTH)
    assert segmentation.parse(mended["i_segm"], HEIGHT, WIDTH).rle == expected


def test_three_that_hide_one_another_are_a_cycle(tmp_path):
    content = scene()
    a, b, c = (0, 0, 30, 20), (20, 0, 50, 20), (10, 10, 45, 40)
    content["annotations"] = [
        annotation(1, a, order=1),
        annotation(2, b, order=2),
        annotation(3, c, order=3, category_id=1),
        annotation(4, (80, 10, 110, 50), cluster=2, category_id=2),
    ]

    def drawn(box, *holes):
        mask = segmentation.decode(segmentation.parse(polygon(*box), HEIGHT, WIDTH).rle)
        for x1, y1, x2, y2 in holes:
            mask[y1:y2, x1:x2] = False
        return mask

    # The first hides the second, the second the third, the third the first.
    visible = [drawn(a, (10, 10, 20, 20)), drawn(b, (20, 0, 30, 20)), drawn(c, (30, 10, 45, 20))]
    for entry, mask in zip(content["annotations"], visible, strict=False):
        entry["i_segm"], entry["i_area"] = segmentation.encode(mask), int(mask.sum())
        x1, y1, x2, y2 = segmentation.bounding_box(entry["i_segm"])
        entry["i_bbox"] = [x1, y1, x2 - x1, y2 - y1]
    report = check(content, tmp_path, repair=True)
    assert (orders_of_masks.CYCLE, 1, 2, 3) in found(report.findings)
    # No orders describe it, so that none are written.
    assert not report.repair.changes


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(DUMMY_DATA, tmp_path / "manual"))


@pytest.mark.parametrize("release", ["2019", "2020"])
def test_images_are_looked_at(folder, release):
    images = folder / IMAGE_FOLDERS["train"]
    (images / "000000.png").unlink()
    (images / "000001.png").write_bytes((images / "000001.png").read_bytes()[:-20])
    cv2.imwrite(str(images / "000002.png"), np.zeros((50, 99, 3), np.uint8))
    path = folder / ANNOTATION_FILES[release]["train"]
    report = check_file(find_sources(folder, release=release)[0], repair=True)
    expected = {(kinds.IMAGE_MISSING, 0), (kinds.IMAGE_UNREADABLE, 1), (problems.IMAGE_SIZE, 2)}
    assert {finding for finding in found(report.findings) if finding[0] in {kind for kind, _ in expected}} == expected
    sizes = [(image["height"], image["width"]) for image in report.repair.content["images"]]
    assert sizes == [(48, 96), (48, 96), (50, 99)]
    # Without their folder they are not looked at.
    assert not found(check_file(find_sources(path)[0]).findings) & expected


def test_cocoa_s_own_masks_and_orders_are_consistent(sample_data, tmp_path):
    convert(sample_data / "cocoa", tmp_path / "cocoa", test_fraction=None)
    report = check_file(find_sources(tmp_path / "cocoa")[0])
    assert report.annotations == 47
    assert report.errors == 0


@given(st.data())
@settings(max_examples=40)
def test_scenes_made_by_the_rules_have_no_errors(data):
    count = data.draw(st.integers(1, 6))
    boxes = []
    for _ in range(count):
        x, y = data.draw(st.integers(0, 70)), data.draw(st.integers(0, 30))
        boxes.append((x, y, x + data.draw(st.integers(2, 50)), y + data.draw(st.integers(2, 30))))
    masks = [segmentation.parse(polygon(*box), HEIGHT, WIDTH).rle for box in boxes]
    clusters, numbers = clusters_and_orders(masks, range(count))
    content = scene()
    content["annotations"] = [
        {**annotation(1 + index, box, order=numbers[index], cluster=clusters[index]), "i_segm": visible}
        for index, (box, visible) in enumerate(zip(boxes, inmodal_masks(masks, clusters, numbers), strict=True))
    ]
    for entry in content["annotations"]:
        x1, y1, x2, y2 = segmentation.bounding_box(entry["i_segm"])
        entry["i_bbox"], entry["i_area"] = [x1, y1, x2 - x1, y2 - y1], segmentation.area(entry["i_segm"])
    found_kinds = {finding.kind for finding in checked(content).findings}
    # Two boxes that are the same, and what is wholly hidden, are drawn too.
    allowed = {kinds.CATEGORY_GAP, kinds.CATEGORY_UNUSED, kinds.DUPLICATE, problems.INMODAL_EMPTY}
    assert found_kinds <= allowed | {kind for kind in found_kinds if kinds.DUPLICATE in found_kinds}


def checked(content, **arguments):
    """`check` without a folder of its own, which hypothesis would have to share among its examples."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return check(content, Path(folder), **arguments)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_file_is_checked_and_mended_for_good(data):
    content = scene()
    for _ in range(data.draw(st.integers(1, 4))):
        *path, last = data.draw(st.sampled_from(places(content)))
        parent = content
        for key in path:
            parent = parent[key]
        if isinstance(parent, dict) and data.draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = copy.deepcopy(data.draw(st.sampled_from(POISON)))
    before = json.dumps(content)
    report = checked(content, repair=True)
    assert json.dumps(content) == before
    again = checked(report.repair.content, repair=True)
    assert not again.repair.changes
    assert json.dumps(again.repair.content) == json.dumps(report.repair.content)
    assert found(again.findings) == found(report.repair.left)
    always = {kinds.AREA_DISAGREES, kinds.AREA_MISSING, problems.REPEATED_ID, kinds.DUPLICATE, kinds.NUMBER_AS_TEXT}
    assert not {finding.kind for finding in report.repair.left} & always


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"images": [', "[" * 100_000, '{"a":' * 100_000, "9" * 10_000])
def test_what_is_no_json_object_is_one_clear_error(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match="a.json"):
        check_file(Source("a", path, None))


@pytest.mark.parametrize("depth", [30, 400, 900, 990])
def test_deep_nesting_ends_in_a_finding_or_an_error(depth, tmp_path):
    content = scene()
    path = tmp_path / "a.json"
    text = json.dumps(content).replace('"a_segm": [', '"a_segm": [' + "[" * depth + "]" * depth + ",", 1)
    path.write_text(text)
    try:
        errors = check_file(Source("a", path, None), repair=True).errors
    except DataError:
        errors = 1
    assert errors


def test_clipping_keeps_what_is_inside():
    square = np.array([[-10, 10], [30, 10], [30, 70], [-10, 70]], float)
    np.testing.assert_array_equal(clip_polygon(square, 50, 100), [[0, 50], [0, 10], [30, 10], [30, 50]])
    assert len(clip_polygon(square + 500, 50, 100)) == 0


def is_inside(polygon, points):
    """Whether points lie in a polygon, by the number of its edges to the right of each."""
    x, y = points[:, None].T
    (x1, y1), (x2, y2) = np.roll(polygon, 1, axis=0).T[..., None], polygon.T[..., None]
    crosses = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))).sum(axis=0) % 2 == 1


@given(st.lists(st.tuples(st.integers(-80, 200), st.integers(-80, 150)), min_size=3, max_size=7))
def test_a_clipped_polygon_has_the_same_points_of_the_image(corners):
    whole = np.array(corners, float)
    clipped = clip_polygon(whole, HEIGHT, WIDTH)
    assert (clipped >= 0).all()
    assert (clipped <= [WIDTH, HEIGHT]).all()
    # On no edge between two whole points.
    points = np.random.default_rng(0).uniform(0, 1, (300, 2)) * [WIDTH, HEIGHT]
    expected = is_inside(whole, points)
    np.testing.assert_array_equal(is_inside(clipped, points) if len(clipped) else False & expected, expected)


def run(monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location("dataset_script", ROOT / "scripts" / "dataset.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["dataset.py", "check", *map(str, arguments)])
    return script.main()


def test_the_command_says_what_it_finds_and_writes_a_copy_that_builds(folder, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, folder) == 0
    path = folder / ANNOTATION_FILES["2020"]["train"]
    content = json.loads(path.read_text())
    content["annotations"][0]["a_bbox"] = [0, 0, 0, 0]
    content["annotations"][1]["id"] = "x"
    content["images"].append("nothing")
    path.write_text(json.dumps(content))
    with pytest.raises(DataError):
        read_annotation_file(path)

    assert run(monkeypatch, folder, "--json", tmp_path / "found.json") == 1
    text = capsys.readouterr().out
    assert "error: 1 x amodal box under a pixel wide or high" in text
    entries = json.loads((tmp_path / "found.json").read_text())
    assert entries["errors"] == 3
    groups = {group["kind"]: group for group in entries["files"][0]["findings"]}
    assert groups[kinds.ANNOTATION_WITHOUT_ID]["ids"] == [["number 1"]]
    with pytest.raises(DataError, match="--force"):
        run(monkeypatch, folder, "--json", tmp_path / "found.json")

    out = tmp_path / "fixed"
    assert run(monkeypatch, folder, "--fix", out) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "changes.json",
        "update_test_2020.json",
        "update_train_2020.json",
    ]
    changes = json.loads((out / "changes.json").read_text())
    assert [(change["id"], change["field"]) for change in changes["update_train_2020.json"]] == [
        ("number 3", None),
        ("number 1", "id"),
        (1, "a_bbox"),
    ]
    assert not changes["update_test_2020.json"]
    assert len(read_annotation_file(out / "update_train_2020.json").images) == 3
    assert run(monkeypatch, out / "update_train_2020.json", "--fix", tmp_path / "again.json") == 0
    assert json.loads((tmp_path / "again.changes.json").read_text()) == {"again.json": []}
    with pytest.raises(ConfigError, match="one PATH"):
        run(monkeypatch, folder, folder, "--fix", tmp_path / "both")


def test_splits_must_have_the_same_categories(folder, monkeypatch, capsys):
    path = folder / ANNOTATION_FILES["2020"]["test"]
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "bicycle"
    path.write_text(json.dumps(content))
    assert run(monkeypatch, folder) == 1
    assert kinds.CATEGORIES_DIFFER in capsys.readouterr().out
