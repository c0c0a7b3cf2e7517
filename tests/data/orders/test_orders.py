import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.masks import segmentation
from data.orders.orders import clusters_and_orders

HEIGHT, WIDTH = 20, 30


def rectangle(x1, y1, x2, y2):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


@st.composite
def scenes(draw):
    count = draw(st.integers(0, 8))
    masks = []
    for _ in range(count):
        x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
        masks.append(rectangle(x, y, x + draw(st.integers(1, 12)), y + draw(st.integers(1, 12))))
    return masks, draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))


def orders_of(masks, depth):
    return clusters_and_orders([segmentation.encode(mask) for mask in masks], depth)


@given(scenes())
def test_kins_rules_hold(scene):
    masks, depth = scene
    clusters, orders = orders_of(masks, depth)
    overlap = np.array([[(a & b).any() for b in masks] for a in masks], dtype=bool).reshape(len(masks), len(masks))
    np.fill_diagonal(overlap, False)
    for i, j in np.argwhere(overlap):
        assert clusters[i] == clusters[j]
        assert orders[i] != orders[j]
        if depth[i] < depth[j]:
            assert orders[i] < orders[j]
    for i in range(len(masks)):
        assert (orders[i] == 0) == (not overlap[i].any())
        # An order above 1 is earned: something of the order just below hides it.
        if orders[i] > 1:
            assert any(overlap[i, j] and orders[j] == orders[i] - 1 for j in range(len(masks)))
    reachable = overlap | np.eye(len(masks), dtype=bool)
    for _ in masks:
        reachable = (reachable.astype(int) @ reachable.astype(int)) > 0
    np.testing.assert_array_equal(np.equal.outer(np.array(clusters), np.array(clusters)), reachable)


@given(scenes())
def test_masks_in_another_sequence_give_the_same_orders(scene):
    masks, _ = scene
    depth = list(range(len(masks)))
    clusters, orders = orders_of(masks, depth)
    backward_clusters, backward = orders_of(masks[::-1], depth[::-1])
    assert backward[::-1] == orders
    same = np.equal.outer(clusters, clusters)
    np.testing.assert_array_equal(np.equal.outer(backward_clusters[::-1], backward_clusters[::-1]), same)


def test_a_row_of_cars_and_one_apart():
    row = [rectangle(x, 2, x + 6, 10) for x in (0, 5, 10)]
    clusters, orders = orders_of([*row, rectangle(20, 2, 25, 10)], [1, 2, 3, 4])
    assert clusters == [1, 1, 1, 2]
    assert orders == [1, 2, 3, 0]


def test_two_that_are_hidden_by_one_but_do_not_touch_share_an_order():
    clusters, orders = orders_of([rectangle(4, 4, 20, 10), rectangle(0, 0, 6, 6), rectangle(16, 0, 24, 6)], [1, 2, 3])
    assert clusters == [1, 1, 1]
    assert orders == [1, 2, 2]


def test_depths_must_be_as_many_as_masks():
    with pytest.raises(ValueError, match="1 masks, but 2 depths"):
        orders_of([rectangle(0, 0, 2, 2)], [1, 2])
