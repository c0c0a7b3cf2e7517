"""Several annotators: matching, majority and the table of consistency, against plain arrays."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.masks import segmentation
from data.kins.annotations import read_annotation_file
from data.kins.writer import KinsAnnotation, write_annotations
from data.vote.matching import match_instances
from data.vote.voting import Outline, agreement

DUMMY_DATA = Path(__file__).parents[3] / "data" / "kins" / "dummy_data"
HEIGHT, WIDTH = 40, 60
CLASSES = {"car": 4, "van": 7}


def box(x1, y1, x2, y2):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def write(path, *images, names=("a.png", "b.png"), classes=CLASSES, width=WIDTH):
    """An annotation file: a list of (class, amodal mask, inmodal mask) for each image."""
    annotations = [
        KinsAnnotation(0, image_id, name, segmentation.encode(amodal), segmentation.encode(inmodal), 1, 1)
        for image_id, objects in enumerate(images)
        for name, amodal, inmodal in objects
    ]
    numbered = [
        KinsAnnotation(**{**vars(annotation), "id": 100 + index}) for index, annotation in enumerate(annotations)
    ]
    records = [
        {"id": index, "file_name": names[index], "width": width, "height": HEIGHT} for index in range(len(images))
    ]
    write_annotations(path, records, numbered, classes)
    return path


def things(*boxes, name="car"):
    return [(name, box(*one), box(*one)) for one in boxes]


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def result(path):
    return json.loads(path.read_text())


@st.composite
def annotators(draw):
    """Masks of 1..4 annotators who drew up to five boxes of two classes, shifted and now and then left out."""
    boxes = [
        (draw(st.integers(0, 40)), draw(st.integers(0, 20)), draw(st.integers(3, 18)), draw(st.integers(3, 18)))
        for _ in range(draw(st.integers(0, 5)))
    ]
    kinds = [draw(st.sampled_from("ab")) for _ in boxes]
    drawn = []
    for _ in range(draw(st.integers(1, 4))):
        seen = [index for index in range(len(boxes)) if draw(st.integers(0, 5))]
        masks = []
        for index in seen:
            x, y, width, height = boxes[index]
            dx, dy = draw(st.integers(0, 2)), draw(st.integers(0, 2))
            masks.append(box(x + dx, y + dy, x + dx + width, y + dy + height))
        drawn.append((masks, [kinds[index] for index in seen]))
    return drawn


@given(annotators(), st.sampled_from([0.3, 0.5, 0.8]))
def test_groups_are_one_to_one_of_one_class_and_maximal(drawn, threshold):
    masks = [list(map(segmentation.encode, one)) for one, _ in drawn]
    kinds = [classes for _, classes in drawn]
    groups = match_instances(masks, kinds, threshold)
    assert sorted(itertools.chain.from_iterable(groups)) == [
        (a, i) for a in range(len(masks)) for i in range(len(masks[a]))
    ]
    for group in groups:
        assert len({a for a, _ in group}) == len(group)
        assert len({kinds[a][i] for a, i in group}) == 1
        assert (
            len(group) == 1
            or max(iou(drawn[a][0][i], drawn[b][0][j]) for (a, i), (b, j) in itertools.combinations(group, 2))
            >= threshold
        )
    # Two groups stay apart for a reason: no pair of them fits, or an annotator drew both.
    for one, other in itertools.combinations(groups, 2):
        if not {a for a, _ in one} & {a for a, _ in other}:
            for (a, i), (b, j) in itertools.product(one, other):
                assert kinds[a][i] != kinds[b][j] or iou(drawn[a][0][i], drawn[b][0][j]) < threshold


@given(annotators())
def test_two_annotators_agree_as_arrays_say(drawn):
    rows, columns = (
        [
            Outline(index, kind, False, segmentation.encode(mask), segmentation.encode(mask & ~box(0, 0, 20, 40)))
            for index, (mask, kind) in enumerate(zip(*drawn[place], strict=True))
        ]
        for place in (0, -1)
    )
    found = agreement([rows], [columns], 0.5)
    groups = match_instances(
        [[one.amodal for one in rows], [one.amodal for one in columns]],
        [[one.class_name for one in rows], [one.class_name for one in columns]],
        0.5,
    )
    amodal, inmodal = [], []
    for group in groups:
        if len(group) == 2:
            first, second = drawn[0][0][group[0][1]], drawn[-1][0][group[1][1]]
            amodal.append(iou(first, second))
            visible = [mask & ~box(0, 0, 20, 40) for mask in (first, second)]
            if any(mask.any() for mask in visible):
                inmodal.append(iou(*visible))
    assert (found.pairs[0, 0, 0], found.pairs[1, 0, 0]) == (len(amodal), len(inmodal))
    assert found.either[0, 0] == len(groups)
    np.testing.assert_allclose(found.iou_sums[:, 0, 0], [sum(amodal), sum(inmodal)])


def test_three_who_drew_the_same_agree_wholly(dataset, tmp_path):
    source, out, report = DUMMY_DATA / "update_train_2020.json", tmp_path / "voted.json", tmp_path / "report.json"
    old = DUMMY_DATA / "instances_train.json"
    # Of either release: polygons and run-length codes of the same masks. The 2020 file lists `rider` besides.
    code, printed, error = dataset("vote", source, source, old, "--out", out, "--json", report, "--workers", 1)
    assert code == 0, error
    assert "9 instances voted in, of 9 that anyone has\nwritten to" in printed
    keys = ("image_id", "category_id", "oco_id", "ico_id", "a_bbox", "a_area", "i_bbox", "i_area")
    assert [[entry[key] for key in keys] for entry in result(out)["annotations"]] == [
        [entry[key] for key in keys] for entry in result(source)["annotations"]
    ]
    assert read_annotation_file(out).problems == ()
    assert result(out)["images"] == result(source)["images"]
    for table in result(report)["tables"].values():
        assert [[value for value in row if value is not None] for row in table] == [[1.0] * 3] * 4


def test_what_a_majority_has_is_kept_with_the_pixels_that_a_majority_has(dataset, tmp_path):
    hidden = box(20, 10, 30, 20)
    files = [
        write(
            tmp_path / "anna.json", [("car", box(10, 10, 30, 20), box(10, 10, 30, 20) & ~hidden)], things((1, 1, 9, 9))
        ),
        write(tmp_path / "ben.json", [("car", box(12, 10, 30, 20), box(12, 10, 22, 20))], things((2, 1, 9, 9))),
        write(tmp_path / "cleo.json", [("car", box(10, 12, 32, 22), box(10, 12, 21, 22))], things((40, 1, 50, 9))),
    ]
    out, report = tmp_path / "voted.json", tmp_path / "report.json"
    code, printed, _ = dataset("vote", *files, "--out", out, "--json", report, "--workers", 1)
    assert code == 0
    car, small = result(out)["annotations"]
    masks = [[box(10, 10, 30, 20), box(12, 10, 30, 20), box(10, 12, 32, 22)]]
    masks.append([box(10, 10, 20, 20), box(12, 10, 22, 20), box(10, 12, 21, 22)])
    for key, drawn in zip(("a_segm", "i_segm"), masks, strict=True):
        np.testing.assert_array_equal(segmentation.decode(car[key]), sum(mask.astype(int) for mask in drawn) >= 2)
    # Two of three have the small one; both have to have a pixel. Cleo's own is left out.
    np.testing.assert_array_equal(segmentation.decode(small["a_segm"]), box(2, 1, 9, 9))
    assert "2 instances voted in, of 3 that anyone has\n  1 left out: found by a minority" in printed
    votes = result(report)["instances"]
    assert [(vote["members"], vote["voted_id"], vote["left_out"]) for vote in votes] == [
        ([100, 100, 100], 1, None),
        ([101, 101, None], 2, None),
        ([None, None, 101], None, "found by a minority"),
    ]
    assert votes[1]["amodal_iou"] == pytest.approx(7 / 8)
    tables = result(report)["tables"]
    assert tables["amodal IoU"][0][1] == pytest.approx((18 / 20 + 7 / 8) / 2)
    assert tables["shared"][0] == [None, 1.0, pytest.approx(1 / 3), 1.0]
    assert tables["inmodal IoU"][1][0] == pytest.approx((8 / 12 + 7 / 8) / 2)
    assert tables["amodal IoU"][0][3] == pytest.approx(
        (iou(box(10, 10, 30, 20), segmentation.decode(car["a_segm"])) + 7 / 8) / 2
    )
    # Bigger shares of the majority than of one another, as in the paper.
    assert min(tables["amodal IoU"][3][:3]) > tables["amodal IoU"][1][2]


def test_two_times_give_the_papers_table(dataset, tmp_path):
    def drawn(shift):
        return things((10 + shift, 10, 30 + shift, 20), (40, 25 + shift, 58, 38))

    first = [write(tmp_path / f"{name}1.json", drawn(shift)) for name, shift in (("anna", 0), ("ben", 1), ("cleo", 2))]
    again = [write(tmp_path / f"{name}2.json", drawn(shift)) for name, shift in (("anna", 0), ("ben", 2), ("cleo", 1))]
    out, report = tmp_path / "voted.json", tmp_path / "report.json"
    words = ("vote", *first, "--again", *again, "--out", out, "--json", report, "--workers", 1)
    code, printed, _ = dataset(*words)
    assert code == 0
    assert "anna1 (1)" in printed
    found = result(report)
    assert found["rows"] == ["anna2 (2)", "ben2 (2)", "cleo2 (2)", "majority (2)"]
    table = np.array(found["tables"]["amodal IoU"])
    assert table.shape == (4, 4)
    shifts = (0, 1, 2), (0, 2, 1)
    for (r, second), (c, one) in itertools.product(enumerate(shifts[1]), enumerate(shifts[0])):
        pairs = [(a[1], b[1]) for a, b in zip(drawn(second), drawn(one), strict=True)]
        assert table[r, c] == pytest.approx(np.mean([iou(*pair) for pair in pairs]))
    assert table[3, 3] == 1.0  # the same masks at both times, by other hands


def test_order_of_the_annotators_is_no_matter(dataset, tmp_path):
    rng = np.random.default_rng(3)
    corners = [(3, 3, 18, 15), (14, 5, 30, 20), (35, 10, 55, 30)]
    files = []
    for name in ("anna", "ben", "cleo"):
        moved = [tuple(int(v) for v in np.array(corner) + rng.integers(-1, 2, 4)) for corner in corners]
        files.append(write(tmp_path / f"{name}.json", things(*moved)))
    results = []
    for index, order in enumerate(itertools.permutations(files)):
        out = tmp_path / f"voted{index}.json"
        assert dataset("vote", *order, "--out", out, "--workers", 1)[0] == 0
        results.append(sorted((entry["a_segm"]["counts"], entry["ico_id"]) for entry in result(out)["annotations"]))
    assert len(results[0]) == 3
    assert all(one == results[0] for one in results)


@pytest.mark.parametrize(
    ("second", "options", "words"),
    [
        (lambda path: write(path, things((1, 1, 9, 9))), (), "anna.json has the image b.png, which .*ben.json has not"),
        (lambda path: write(path, [], things((1, 1, 9, 9)), names=("a.png", "c.png")), (), "vote on the same images"),
        (
            lambda path: write(path, things((1, 1, 9, 9)), [], names=("a.png", "a.png")),
            (),
            "two images have the same name",
        ),
        (lambda path: write(path, things((1, 1, 9, 9)), [], classes={"car": 7, "van": 4}), (), "category 4 is 'van'"),
        (
            lambda path: write(path, things((30, 30, 39, 39)), []),
            (),
            "no instance is in more than half of the 2 files",
        ),
        (lambda path: write(path, things((1, 1, 9, 9)), []), ("--iou", 0), "--iou is 0"),
        (lambda path: write(path, things((1, 1, 9, 9)), []), ("--again", "x.json"), "--again names 1 files"),
        (lambda path: path.write_text("{}"), (), "ben.json: the key 'images' is missing"),
    ],
)
def test_files_that_do_not_fit_are_refused(dataset, tmp_path, second, options, words):
    first = write(tmp_path / "anna.json", things((1, 1, 9, 9)), [])
    other = tmp_path / "ben.json"
    second(other)
    code, _, error = dataset("vote", first, other, "--out", tmp_path / "voted.json", "--workers", 1, *options)
    assert code == 1
    assert re.search("error: .*" + words, error)
    assert not (tmp_path / "voted.json").exists()


def test_images_of_different_sizes_are_refused(dataset, tmp_path):
    content = result(write(tmp_path / "anna.json", things((1, 1, 9, 9)), []))
    content["images"][0]["width"] += 1
    (tmp_path / "ben.json").write_text(json.dumps(content))
    files = tmp_path / "anna.json", tmp_path / "ben.json"
    code, _, error = dataset("vote", *files, "--out", tmp_path / "voted.json", "--workers", 1)
    assert code == 1
    assert "a.png has 40 rows and 60 columns in" in error
