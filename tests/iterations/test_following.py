"""Following objects through checkpoints, on cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from amodal_jax.iterations.following import Measured, follow, hidden_share, measure, relative_area
from amodal_jax.structures import Instances


def instances(boxes, labels, amodal=None, inmodal=None) -> Instances:
    count = len(boxes)
    return Instances(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, count).astype(np.float32),
        labels=np.array(labels, np.int32),
        class_names=("car", "van"),
        occluded=None,
        amodal_masks=amodal,
        inmodal_masks=inmodal,
    )


def test_an_object_is_followed_to_the_box_of_its_class_that_is_nearest():
    objects = instances([[0, 0, 10, 10], [20, 0, 30, 10], [50, 0, 60, 10]], [0, 0, 1])
    found = instances(
        [[1, 0, 11, 10], [0, 0, 10, 9], [20, 0, 30, 10], [50, 0, 60, 10], [20, 0, 30, 4]],
        [0, 0, 1, 0, 0],
    )
    # The first has two like it, the second one of another class and one that is too small, the third another class.
    assert follow(objects, found) == [1, None, None]


def test_two_objects_are_never_followed_to_one():
    objects = instances([[0, 0, 10, 10], [0, 0, 10, 12]], [0, 0])
    assert follow(objects, instances([[0, 0, 10, 12]], [0])) == [None, 0]
    assert follow(objects, instances([[0, 0, 10, 12], [0, 0, 10, 16]], [0, 0])) == [1, 0]


def test_nothing_is_followed_where_there_is_nothing():
    some, none = instances([[0, 0, 10, 10]], [0]), instances([], [])
    assert follow(some, none) == [None]
    assert follow(none, some) == []


def test_areas_are_counted_in_pixels():
    amodal, inmodal = np.zeros((2, 1, 6, 8), bool)
    amodal[0, :, :4] = True
    inmodal[0, :, 1:6] = True
    found = instances([[0, 0, 4, 6]], [0], amodal, inmodal)
    assert measure(found, 0) == Measured(float(np.float32(0.9)), 24, 6)
    assert measure(instances([[0, 0, 4, 6]], [0], amodal), 0) == Measured(float(np.float32(0.9)), 24, None)


def test_shares_are_of_the_objects_that_are_found():
    measured = [Measured(0.9, 30, 6), None, Measured(0.5, 10, 4)]
    last = [Measured(0.9, 20, 0), Measured(0.8, 7, 7), Measured(0.6, 10, 1)]
    assert hidden_share(measured) == 0.25
    assert relative_area(measured, last) == pytest.approx((1.5 + 1) / 2)
    assert relative_area(last, last) == 1
    for nothing in ([], [None], [Measured(0.9, 0, 0)]):
        assert math.isnan(hidden_share(nothing))
        assert math.isnan(relative_area(nothing, nothing))
    assert math.isnan(hidden_share([Measured(0.9, 30, None)]))
