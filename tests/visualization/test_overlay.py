import dataclasses

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from amodal_jax.errors import ImageError
from amodal_jax.structures import Instances
from amodal_jax.visualization import overlay
from amodal_jax.visualization.colours import PALETTE, distinct_colours

GREY = 90


def scene(height=120, width=200):
    """A far object of 60 x 40 pixels, of which a near one of 70 x 50 hides the right half, on a grey ground."""
    image = np.full((height, width, 3), GREY, np.uint8)
    amodal = np.zeros((2, height, width), bool)
    amodal[0, 50:90, 80:140] = True
    amodal[1, 60:110, 110:180] = True
    inmodal = amodal.copy()
    inmodal[0] &= ~amodal[1]
    instances = Instances(
        boxes=np.array([[80, 50, 140, 90], [110, 60, 180, 110]], np.float32),
        scores=np.array([0.9, 0.6], np.float32),
        labels=np.array([0, 1], np.int32),
        class_names=("car", "van"),
        occluded=np.array([0.8, 0.1], np.float32),
        amodal_masks=amodal,
        inmodal_masks=inmodal,
    )
    return image, instances


def without_labels(monkeypatch):
    monkeypatch.setattr(overlay, "_draw_labels", lambda *arguments: None)


def changed(drawn, image):
    return (drawn != image).any(-1)


def interior(mask):
    return cv2.erode(mask.astype(np.uint8), np.ones((11, 11), np.uint8)).astype(bool)


def test_visible_part_is_filled_and_hidden_part_hatched(monkeypatch):
    without_labels(monkeypatch)
    image, instances = scene()
    drawn = overlay.draw_instances(image, instances)
    first, second = PALETTE[:2].astype(int)
    visible = interior(instances.inmodal_masks[0])
    assert len(np.unique(drawn[visible], axis=0)) == 1
    towards = drawn[visible][0].astype(int) - GREY
    assert (np.sign(towards) == np.sign(first - GREY)).all()
    # The hatch has its own object's full colour here and the other object's fill, darkened, in between.
    hidden = interior(instances.amodal_masks[0] & instances.amodal_masks[1])
    distance = np.abs(drawn[hidden].astype(int) - first).sum(-1)
    assert 0.1 < (distance < 120).mean() < 0.6
    assert (distance > 150).mean() > 0.3
    near_alone = interior(instances.amodal_masks[1] & ~instances.amodal_masks[0])
    nearer = np.abs(drawn[near_alone].astype(int) - second).sum(-1)
    assert nearer.max() < np.abs(GREY - second).sum()


def test_outline_follows_the_amodal_mask(monkeypatch):
    without_labels(monkeypatch)
    image, instances = scene()
    far = dataclasses.replace(
        instances,
        **{
            name: getattr(instances, name)[:1]
            for name in ("boxes", "scores", "labels", "occluded", "amodal_masks", "inmodal_masks")
        },
    )
    drawn = overlay.draw_instances(image, far)
    shrunk = cv2.erode(far.amodal_masks[0].astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    edge = far.amodal_masks[0] & ~shrunk
    assert (np.abs(drawn[edge].astype(int) - PALETTE[0]).sum(-1) < 120).all()
    beyond = ~cv2.dilate(far.amodal_masks[0].astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert not changed(drawn, image)[beyond].any()


@pytest.mark.parametrize("absent", [("amodal_masks",), ("inmodal_masks",), ("amodal_masks", "inmodal_masks")])
def test_a_model_without_some_branch_is_drawn_too(absent, monkeypatch):
    without_labels(monkeypatch)
    image, instances = scene()
    drawn = overlay.draw_instances(image, dataclasses.replace(instances, occluded=None, **dict.fromkeys(absent, None)))
    inside = interior(instances.inmodal_masks[0])
    assert changed(drawn, image)[50:90, 80].all(), "the left edge of the far object has a line in every case"
    assert changed(drawn, image)[inside].all() == ("inmodal_masks" not in absent)


def test_score_threshold_and_no_instances():
    image, instances = scene()
    unchanged = image.copy()
    assert np.array_equal(overlay.draw_instances(image, instances, score_threshold=0.95), image)
    near = np.s_[93:99, 125:145]  # of the near object alone, which scores 0.6
    assert not changed(overlay.draw_instances(image, instances, score_threshold=0.7), image)[near].any()
    assert changed(overlay.draw_instances(image, instances, score_threshold=0.5), image)[near].all()
    nothing = Instances(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int32),
        class_names=("car",),
        occluded=None,
        amodal_masks=np.zeros((0, 120, 200), bool),
        inmodal_masks=None,
    )
    assert np.array_equal(overlay.draw_instances(image, nothing), image)
    assert np.array_equal(image, unchanged), "the caller's image stays as it is"


def test_label_says_class_score_and_occluded(monkeypatch):
    image, instances = scene()
    said = []
    monkeypatch.setattr(overlay, "_draw_labels", lambda canvas, texts, *rest: said.extend(texts))
    overlay.draw_instances(image, instances)
    overlay.draw_instances(image, dataclasses.replace(instances, occluded=None))
    assert ["".join(text) for text in said] == ["car 0.90 occluded", "van 0.60", "car 0.90", "van 0.60"]


def test_scale_enlarges_the_picture_and_the_masks_with_it(monkeypatch):
    without_labels(monkeypatch)
    image, instances = scene()
    drawn = overlay.draw_instances(image, instances, scale=3)
    assert drawn.shape == (360, 600, 3)
    visible = np.kron(interior(instances.inmodal_masks[0]), np.ones((3, 3), bool))
    assert len(np.unique(drawn[visible], axis=0)) == 1
    outside = ~np.kron(instances.amodal_masks.any(0), np.ones((3, 3), np.uint8)).astype(bool)
    outside = cv2.erode(outside.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert (drawn[outside] == GREY).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (16, 16)])
def test_tiny_images(size):
    image = np.zeros((*size, 3), np.uint8)
    masks = np.ones((1, *size), bool)
    instances = Instances(
        boxes=np.array([[0, 0, size[1], size[0]]], np.float32),
        scores=np.ones(1, np.float32),
        labels=np.zeros(1, np.int32),
        class_names=("a class with a rather long name",),
        occluded=np.ones(1, np.float32),
        amodal_masks=masks,
        inmodal_masks=~masks,
    )
    assert overlay.draw_instances(image, instances, scale=2).shape == (2 * size[0], 2 * size[1], 3)


def test_masks_of_another_size_are_refused():
    image, instances = scene()
    with pytest.raises(ImageError, match="200 x 120 pixels on an image of 100 x 60"):
        overlay.draw_instances(image[:60, :100], instances)
    with pytest.raises(ImageError, match="0 x 0"):
        overlay.draw_instances(image[:0, :0], instances)


boxes_strategy = st.lists(
    st.tuples(*[st.floats(-50, 1290, width=32)] * 2, st.floats(1, 500, width=32), st.floats(1, 300, width=32)),
    min_size=1,
    max_size=20,
).map(lambda rows: np.array([[x, y / 3, x + w, y / 3 + h] for x, y, w, h in rows], np.float32))


@hypothesis.given(boxes_strategy)
@hypothesis.settings(max_examples=40)
def test_labels_stay_in_the_image_and_say_when_they_overlap(boxes):
    widths = np.full(len(boxes), 90)
    places, crowded = overlay.place_labels(boxes, widths, 18, (375, 1242))
    taken = np.zeros((375, 1242), int)
    for left, top in places:
        assert left >= 0
        assert top >= 0
        taken[top : top + 18, left : left + 90] += 1
    assert taken.sum() == len(boxes) * 90 * 18, "every label lies in the image whole"
    assert crowded == (taken.max() > 1)


def test_labels_find_room_in_a_crowd():
    """Twenty small objects side by side on one line, as on a parking lane seen along the street."""
    left = 500 + np.arange(20) * 12
    boxes = np.stack([left, np.full(20, 180), left + 20, np.full(20, 200)], 1).astype(np.float32)
    _, crowded = overlay.place_labels(boxes, np.full(20, 90), 16, (375, 1242))
    assert not crowded


def test_neighbours_differ_in_colour():
    boxes = np.array([[x, 0, x + 30, 30] for x in range(0, 2000, 20)], np.float32)
    colours = distinct_colours(boxes)
    assert (colours[1:] != colours[:-1]).all()
    assert sorted(set(colours)) == list(range(len(PALETTE)))
    assert (distinct_colours(np.tile(boxes[:1], (8, 1))) == np.arange(8)).all()
