"""Against slow, literal NumPy on pixels: objects whose boxes lie on them have crops that are exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.masks.crops import crop_mask, pack_crop
from amodal_jax.ops import occluders

SLOTS, REGIONS, SIZE = 5, 4, 7
CANVAS = 40
SIDES = (1, 2, 4, 7, 8, 14, 16, 28)  # pixels of which each is a whole number of a crop's cells


@dataclasses.dataclass
class Scene:
    """Objects before each other, nearest first."""

    boxes: np.ndarray  # int [G, 4]
    amodal: np.ndarray  # bool [G, CANVAS, CANVAS]
    inmodal: np.ndarray

    def crops(self, masks):
        return jnp.asarray(np.stack([pack_crop(crop_mask(*one)) for one in zip(masks, self.boxes, strict=True)]))

    @property
    def arrays(self):
        """Amodal crops, inmodal crops and boxes."""
        return self.crops(self.amodal), self.crops(self.inmodal), jnp.asarray(self.boxes, jnp.float32)


@st.composite
def scenes(draw):
    boxes, amodal = [], []
    for _ in range(SLOTS):
        width, height = (draw(st.sampled_from(SIDES)) for _ in range(2))
        x, y = draw(st.integers(0, CANVAS - width)), draw(st.integers(0, CANVAS - height))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        mask = np.zeros((CANVAS, CANVAS), bool)
        mask[y : y + height, x : x + width] = rng.random((height, width)) < draw(st.sampled_from((0.3, 0.8, 1.0)))
        boxes.append([x, y, x + width, y + height])
        amodal.append(mask)
    amodal = np.stack(amodal)
    nearer = np.concatenate([np.zeros_like(amodal[:1]), np.logical_or.accumulate(amodal)[:-1]])
    return Scene(np.array(boxes), amodal, amodal & ~nearer)


@st.composite
def regions(draw):
    """Regions of the canvas and around it, at fractions of pixels, and their objects."""
    place = st.floats(-5, CANVAS, width=32)
    side = st.floats(0.5, CANVAS, width=32)
    corners = [[draw(place), draw(place)] for _ in range(REGIONS)]
    boxes = [[x, y, x + draw(side), y + draw(side)] for x, y in corners]
    return np.array(boxes, np.float32), np.array([draw(st.integers(0, SLOTS - 1)) for _ in range(REGIONS)], np.int32)


def box_overlap(a, b):
    """IoU of two boxes."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = max(width, 0) * max(height, 0)
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def literal_overlapping(scene, valid):
    found = np.zeros((SLOTS, SLOTS), bool)
    for i in range(SLOTS):
        for j in range(SLOTS):
            y, x = np.nonzero(scene.inmodal[j])
            if i != j and valid[j] and len(x):
                seen = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
                found[i, j] = box_overlap(scene.boxes[i], seen) > 0.05
    return found


def literal_hiding(scene, nearer):
    found = np.zeros((SLOTS, SLOTS), bool)
    for i in range(SLOTS):
        hidden = scene.amodal[i] & ~scene.inmodal[i]
        for j in range(SLOTS):
            found[i, j] = nearer[i, j] and (hidden & scene.inmodal[j]).any()
    return found


def literal_shares(scene, chosen, boxes, truth_index):
    """The share of each bin that is covered by what is seen of the occluders within the object's box."""
    shares = np.zeros((REGIONS, SIZE, SIZE))
    for region, (box, i) in enumerate(zip(boxes.astype(np.float64), truth_index, strict=True)):
        union = np.zeros((CANVAS, CANVAS), bool)
        for j in range(SLOTS):
            if chosen[i, j]:
                union |= scene.inmodal[j]
        width, height = (box[2:] - box[:2]) / SIZE
        for row in range(SIZE):
            for column in range(SIZE):
                x1, y1 = box[0] + column * width, box[1] + row * height
                for y, x in np.argwhere(union):
                    own = scene.boxes[i]
                    right, bottom = min(x1 + width, x + 1, own[2]), min(y1 + height, y + 1, own[3])
                    left, top = max(x1, x, own[0]), max(y1, y, own[1])
                    shares[region, row, column] += max(right - left, 0) * max(bottom - top, 0) / (width * height)
    return shares


overlapping = jax.jit(occluders.overlapping)
hiding = jax.jit(occluders.hiding)
occluder_targets = jax.jit(lambda *arguments: occluders.occluder_targets(*arguments, size=SIZE))


@given(scenes(), st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS))
def test_overlapping_objects_are_those_of_the_literal_definition(scene, valid):
    _, inmodal, boxes = scene.arrays
    found = overlapping(inmodal, boxes, jnp.array(valid))
    np.testing.assert_array_equal(found, literal_overlapping(scene, valid))


@given(scenes(), st.integers(0, SLOTS))
def test_hiding_objects_are_those_of_the_literal_definition(scene, count):
    nearer = np.arange(SLOTS) < np.arange(SLOTS)[:, None]
    found = hiding(*scene.arrays, jnp.asarray(nearer), jnp.int32(count))
    np.testing.assert_array_equal(found, literal_hiding(scene, nearer & (np.arange(SLOTS) < count)))


@given(scenes(), regions(), st.integers(0, 2 ** (SLOTS * SLOTS) - 1))
def test_targets_are_those_of_the_literal_definition(scene, regions, bits):
    boxes, truth_index = regions
    chosen = (bits >> np.arange(SLOTS * SLOTS) & 1).astype(bool).reshape(SLOTS, SLOTS)
    _, inmodal, truth_boxes = scene.arrays
    found = occluder_targets(
        inmodal, truth_boxes, jnp.asarray(chosen), jnp.int32(SLOTS), jnp.asarray(boxes), jnp.asarray(truth_index)
    )
    shares = literal_shares(scene, chosen, boxes, truth_index)
    decided = np.abs(shares - 0.5) > 2e-3
    np.testing.assert_array_equal(np.asarray(found, bool)[decided], (shares >= 0.5)[decided])


@pytest.mark.parametrize("column", [50, 51])
def test_cells_are_compared_one_by_one(column):
    """Of objects in one frame of a cell a pixel, one is hidden along a column, and others are seen in one each."""
    whole, nothing = np.ones((112, 112), bool), np.zeros((112, 112), bool)
    seen = np.stack([whole, nothing, nothing, nothing])
    seen[0, :, column] = False
    for other, place in ((1, column - 1), (2, column), (3, column + 1)):
        seen[other, :, place] = True
    boxes = np.tile([0, 0, 112, 112], (4, 1))
    scene = Scene(boxes, np.tile(whole, (4, 1, 1)), seen)
    nearer = jnp.arange(4) > jnp.zeros((4, 1))
    (found, *_) = hiding(*scene.arrays, nearer, jnp.int32(4))
    assert found.tolist() == [False, False, True, False]


def test_the_boxes_of_objects_overlap_by_more_than_a_twentieth():
    """Two squares of 16 pixels that share two columns have an IoU of 32 / 480, over 0.05; one column is under it."""
    for columns, expected in ((2, True), (1, False)):
        masks = np.zeros((2, CANVAS, CANVAS), bool)
        masks[0, :16, :16] = masks[1, :16, 16 - columns : 32 - columns] = True
        boxes = np.array([[0, 0, 16, 16], [16 - columns, 0, 32 - columns, 16]])
        _, inmodal, frames = Scene(boxes, masks, masks).arrays
        found = overlapping(inmodal, frames, jnp.ones(2, bool))
        np.testing.assert_array_equal(found, expected & ~np.eye(2, dtype=bool))


def test_an_object_of_which_nothing_is_seen_overlaps_none():
    mask = np.ones((2, CANVAS, CANVAS), bool)
    boxes = np.array([[0, 0, CANVAS, CANVAS]] * 2)
    scene = Scene(boxes, mask, mask & np.array([True, False])[:, None, None])
    _, inmodal, frames = scene.arrays
    np.testing.assert_array_equal(overlapping(inmodal, frames, jnp.ones(2, bool)), [[False, False], [True, False]])


def test_slots_without_a_box_do_no_harm():
    """Padding has boxes and crops of zeros."""
    mask = np.ones((2, CANVAS, CANVAS), bool)
    scene = Scene(np.array([[0, 0, 28, 28], [0, 0, 0, 0]]), mask, mask)
    amodal, inmodal, boxes = scene.arrays
    every = jnp.ones((2, 2), bool)
    assert not overlapping(inmodal, boxes, jnp.ones(2, bool)).any()
    assert not hiding(amodal, inmodal, boxes, every, jnp.int32(2)).any()
    region = jnp.array([[0.0, 0, 28, 28]])
    target = occluder_targets(inmodal, boxes, every, jnp.int32(2), region, jnp.zeros(1, jnp.int32))
    np.testing.assert_array_equal(target, 1)  # of the first slot itself, which `every` makes its own occluder


def literal_boundary(mask):
    """Dilation and erosion by the cross of 3 x 3 cells, cell by cell, with nothing beyond the frame."""
    side = len(mask)
    found = np.zeros_like(mask)
    for row in range(side):
        for column in range(side):
            around = [
                mask[row + dy, column + dx]
                for dy, dx in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
                if 0 <= row + dy < side and 0 <= column + dx < side
            ]
            found[row, column] = any(around) != all(around)
    return found


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_boundaries_are_those_of_the_literal_definition(seed, filled):
    masks = np.random.default_rng(seed).random((3, 9, 9)) < filled
    found = occluders.boundary(jnp.asarray(masks, jnp.float32))
    np.testing.assert_array_equal(found, np.stack([literal_boundary(mask) for mask in masks]))


@pytest.mark.parametrize(
    ("mask", "cells"), [(np.ones((1, 6, 6)), 0), (np.pad(np.ones((1, 2, 2)), ((0, 0), (2, 2), (2, 2))), 12)]
)
def test_the_boundary_of_a_shape_is_on_both_its_sides(mask, cells):
    """A mask that fills its frame is cut off by it; a square of 2 x 2 cells is all edge, with 8 cells around it."""
    assert occluders.boundary(jnp.asarray(mask, jnp.float32)).sum() == cells
