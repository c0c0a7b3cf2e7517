"""Inmodal masks from orders and orders from masks: there and back, what breaks the rules, what stays open."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.masks import segmentation
from data.orders import orders as rules
from data.orders.inmodal_masks import inmodal_masks
from data.orders.orders import OrderFinding, clusters_and_orders, order_violations
from data.orders.orders_of_masks import CYCLE, VISIBLE_IN_BOTH, VISIBLE_IN_NEITHER, orders_of_masks

HEIGHT, WIDTH = 20, 30


def box(x1, y1, x2, y2):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def encoded(*masks):
    return [segmentation.encode(mask) for mask in masks]


@st.composite
def scenes(draw):
    """Amodal masks, of rectangles and of loose pixels, with the depth of each."""
    masks = []
    for _ in range(draw(st.integers(0, 7))):
        x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
        mask = box(x, y, x + draw(st.integers(1, 14)), y + draw(st.integers(1, 14)))
        if draw(st.booleans()):
            mask &= np.random.default_rng(draw(st.integers(0, 99))).random(mask.shape) < 0.6
        masks.append(mask)
    return masks, draw(st.permutations(range(len(masks))))


@given(scenes())
def test_a_pixel_is_visible_in_the_nearest_instance_that_has_it(scene):
    masks, depth = scene
    rles = encoded(*masks)
    visible = inmodal_masks(rles, *clusters_and_orders(rles, depth))
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for index in sorted(range(len(masks)), key=lambda index: depth[index]):
        np.testing.assert_array_equal(segmentation.decode(visible[index]), masks[index] & ~covered)
        covered |= masks[index]


@given(scenes())
def test_round_trip_is_exact_but_for_what_is_reported(scene):
    masks, depth = scene
    amodal = encoded(*masks)
    clusters, orders = clusters_and_orders(amodal, depth)
    inmodal = inmodal_masks(amodal, clusters, orders)
    found = orders_of_masks(amodal, inmodal)
    assert found.clusters == clusters
    # Whichever way an open pair is settled, what can be seen is the same.
    assert inmodal_masks(amodal, found.clusters, found.orders) == inmodal
    assert order_violations(amodal, found.clusters, found.orders) == []
    if not found.doubts:
        assert found.orders == orders
    for doubt in found.doubts:
        assert doubt.kind == VISIBLE_IN_NEITHER
        i, j = doubt.members
        common = masks[i] & masks[j]
        assert doubt.pixels == common.sum()
        assert not (common & (segmentation.decode(inmodal[i]) | segmentation.decode(inmodal[j]))).any()


@given(scenes(), st.data())
def test_violations_are_what_the_rules_forbid(scene, data):
    masks, _ = scene
    numbers = st.lists(st.integers(0, 2), min_size=len(masks), max_size=len(masks))
    clusters, orders = data.draw(numbers), data.draw(numbers)
    expected = set()
    for i in range(len(masks)):
        partners = [j for j in range(len(masks)) if j != i and (masks[i] & masks[j]).any()]
        if not partners and orders[i]:
            expected.add((rules.ORDER_ALONE, (i,), 0))
        for j in partners:
            if i < j:
                pixels = (masks[i] & masks[j]).sum()
                if clusters[i] != clusters[j]:
                    expected.add((rules.OTHER_CLUSTERS, (i, j), pixels))
                elif orders[i] == orders[j]:
                    expected.add((rules.EQUAL_ORDERS, (i, j), pixels))
                elif 0 in (orders[i], orders[j]):
                    expected.add((rules.ZERO_OVERLAPS, (i, j), pixels))
    found = order_violations(encoded(*masks), clusters, orders)
    assert len(found) == len(expected)
    assert {(finding.kind, finding.members, finding.pixels) for finding in found} == expected


def test_two_of_equal_order_both_keep_what_they_share():
    rles = encoded(box(0, 0, 10, 10), box(5, 0, 15, 10))
    assert inmodal_masks(rles, [1, 1], [1, 1]) == rles
    assert inmodal_masks(rles, [1, 2], [1, 2]) == rles
    assert order_violations(rles, [1, 1], [1, 1]) == [OrderFinding(rules.EQUAL_ORDERS, (0, 1), 50)]


def test_an_overlap_seen_in_neither_is_settled_by_a_third_that_lies_between():
    near, middle, far = box(4, 4, 9, 9), box(4, 4, 14, 9), box(0, 0, 9, 9)
    # Near hides all that near and far share with each other and with the middle.
    amodal = encoded(far, middle, near)
    clusters, orders = clusters_and_orders(amodal, [3, 2, 1])
    found = orders_of_masks(amodal, inmodal_masks(amodal, clusters, orders))
    assert [doubt.kind for doubt in found.doubts] == [VISIBLE_IN_NEITHER]
    assert found.doubts[0].members == (0, 1)
    # A fourth, behind the middle and before the far one, tells which comes first.
    between = box(0, 7, 14, 12)
    amodal = encoded(far, middle, near, between)
    clusters, orders = clusters_and_orders(amodal, [4, 2, 1, 3])
    found = orders_of_masks(amodal, inmodal_masks(amodal, clusters, orders))
    assert found.doubts == []
    assert found.orders == orders == [4, 2, 1, 3]


def test_a_cycle_is_reported_and_cut_where_it_hides_least():
    amodal = [box(0, 0, 10, 4), box(8, 0, 12, 10), box(0, 2, 12, 10)]
    amodal[2][2:8, 2:12] = False
    amodal[2][2:4, 0:2] = True
    a, b, c = amodal
    inmodal = [a & ~c, b & ~a, c & ~b]
    found = orders_of_masks(encoded(*amodal), encoded(*inmodal))
    assert [doubt for doubt in found.doubts if doubt.kind == CYCLE] == [OrderFinding(CYCLE, (0, 1, 2), 0)]
    hidden = [int((a & c).sum()), int((b & a).sum()), int((c & b).sum())]
    assert hidden == [4, 8, 8]
    # a, of which the least is hidden, comes first; then b and c as they hide one another.
    assert found.orders == [1, 2, 3]
    assert order_violations(encoded(*amodal), found.clusters, found.orders) == []


def test_outlines_that_both_claim_an_overlap_are_doubtful_only_where_it_is_close():
    left, right = box(0, 0, 12, 10), box(8, 0, 20, 10)
    amodal = encoded(left, right)
    clear = orders_of_masks(amodal, encoded(left, right & ~box(9, 0, 12, 10)))
    assert (clear.orders, clear.doubts) == ([1, 2], [])
    close = orders_of_masks(amodal, encoded(left, right & ~box(11, 0, 12, 10)))
    assert (close.orders, close.doubts) == ([1, 2], [OrderFinding(VISIBLE_IN_BOTH, (0, 1), 30)])
    backward = orders_of_masks(amodal, encoded(left & ~box(8, 0, 10, 10), right))
    assert backward.orders == [2, 1]


@given(scenes(), st.integers(0, 2**10))
def test_difference_takes_the_other_masks_pixels_away(scene, seed):
    masks, _ = scene
    other = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.5
    for edge in (False, True):
        other[0, 0] = edge
        for mask in masks:
            left = segmentation.difference(*encoded(mask, other))
            np.testing.assert_array_equal(segmentation.decode(left), mask & ~other)
