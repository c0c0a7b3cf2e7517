"""The occluders of regions, from records with depth orders and without."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.input_pipeline.batches import training_batches
from amodal_jax.masks.crops import crop_mask, pack_crop
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.records import PACKED_CROP_SHAPE
from amodal_jax.structures import GroundTruth, RoISamples
from tests.helpers.micro import micro_config

SLOTS, SIZE = 6, 28
CANVAS = 64


def rectangle(x1, y1, x2, y2):
    mask = np.zeros((CANVAS, CANVAS), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def make_truth(amodal, inmodal, *, cluster, order, crowd=()):
    """One image's instances from masks; those in the places `crowd` are crowds."""
    boxes = np.zeros((1, SLOTS, 4), np.float32)
    crops = np.zeros((2, 1, SLOTS, *PACKED_CROP_SHAPE), np.uint8)
    for slot, masks in enumerate(zip(amodal, inmodal, strict=True)):
        y, x = np.nonzero(masks[0])
        boxes[0, slot] = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        for of_kind, mask in zip(crops, masks, strict=True):
            of_kind[0, slot] = pack_crop(crop_mask(mask, boxes[0, slot]))
    is_crowd = np.isin(np.arange(SLOTS), crowd)[None]
    fields = {
        "boxes": boxes,
        "labels": np.zeros((1, SLOTS), np.int32),
        "occlusion_ratio": np.zeros((1, SLOTS), np.float32),
        "amodal_crops": crops[0],
        "inmodal_crops": crops[1],
        "cluster": padded(cluster),
        "order": padded(order),
        "valid": (np.arange(SLOTS) < len(amodal))[None] & ~is_crowd,
        "crowd": is_crowd,
    }
    return GroundTruth(**jax.tree.map(jnp.asarray, fields))


def padded(values):
    return np.pad(np.array(values, np.int32), (0, SLOTS - len(values)), constant_values=-1)[None]


def occluder(truth, instance, rule):
    """What is seen of the occluders of an instance, in its own box."""
    index = jnp.full((1, 1), instance, jnp.int32)
    some = jnp.ones((1, 1), bool)
    samples = RoISamples(truth.boxes[:, instance : instance + 1], index, some, some)
    targets = MaskTargets.of(samples, truth, 1)
    return np.asarray(jax.jit(targets.occluder, static_argnums=(0, 1))(SIZE, rule)[0], bool)


def in_box(mask, box):
    """A mask in its frame, for boxes whose sides have a whole number of bins a pixel."""
    x1, y1, x2, y2 = map(int, box)
    return mask[y1:y2, x1:x2].repeat(SIZE // (y2 - y1), 0).repeat(SIZE // (x2 - x1), 1)


# A far object and a near one before it.
FAR = rectangle(4, 4, 32, 32)
NEAR = rectangle(18, 18, 46, 46) & ~rectangle(18, 18, 25, 25)  # its box has a corner in which the far one is seen


def test_a_near_object_is_the_far_ones_and_has_none():
    truth = make_truth([FAR, NEAR], [FAR & ~NEAR, NEAR], cluster=[0, 0], order=[2, 1])
    for rule in ("orders", "overlap"):
        np.testing.assert_array_equal(occluder(truth, 0, rule), in_box(NEAR, truth.boxes[0, 0]))
    assert not occluder(truth, 1, "orders").any()


def test_without_orders_all_that_overlap_are_taken():
    """Of what is seen of the far object some is in the near one's box; the published heads take it for an occluder."""
    seen = FAR & ~NEAR
    truth = make_truth([FAR, NEAR], [seen, NEAR], cluster=[0, 0], order=[2, 1])
    expected = in_box(seen, truth.boxes[0, 1])
    assert expected.any()
    np.testing.assert_array_equal(occluder(truth, 1, "overlap"), expected)
    unknown = truth.replace(cluster=padded([]), order=padded([]))
    np.testing.assert_array_equal(occluder(unknown, 1, "orders"), expected)
    partly = truth.replace(cluster=padded([0, -1]), order=padded([2, -1]))
    np.testing.assert_array_equal(occluder(partly, 1, "orders"), expected)
    assert not occluder(partly, 0, "orders").any()  # whose own order is known, but no other's


@pytest.mark.parametrize(
    ("changes", "hides"),
    [
        ({}, True),
        ({"order": padded([1, 2])}, False),
        ({"order": padded([1, 1])}, False),
        ({"cluster": padded([0, 1])}, False),
        ({"order": padded([2, 0])}, True),
    ],
)
def test_only_what_is_nearer_in_the_cluster_hides(changes, hides):
    truth = make_truth([FAR, NEAR], [FAR & ~NEAR, NEAR], cluster=[0, 0], order=[2, 1]).replace(**changes)
    assert occluder(truth, 0, "orders").any() == hides


def test_what_covers_nothing_hidden_is_no_occluder_by_the_orders():
    """The third object is nearer and of the cluster, and is seen in the far one's box, but hides nothing of it."""
    beside = rectangle(4, 4, 18, 18)
    far = FAR & ~beside
    truth = make_truth([far, NEAR, beside], [far & ~NEAR, NEAR, beside], cluster=[0] * 3, order=[3, 1, 2])
    box = truth.boxes[0, 0]
    np.testing.assert_array_equal(occluder(truth, 0, "orders"), in_box(NEAR, box))
    np.testing.assert_array_equal(occluder(truth, 0, "overlap"), in_box(NEAR | beside, box))


@pytest.mark.parametrize("rule", ["orders", "overlap"])
def test_crowds_and_empty_slots_hide_nothing(rule):
    scene = ([FAR, NEAR], [FAR & ~NEAR, NEAR])
    truth = make_truth(*scene, cluster=[0, 0], order=[2, 1], crowd=[1])
    assert not occluder(truth, 0, rule).any()
    truth = make_truth(*scene, cluster=[0, 0], order=[2, 1])
    # What is left in a slot that is not valid, as in the first ones of an image that fills up a batch.
    emptied = truth.replace(valid=truth.valid.at[0, 1].set(False))
    assert not occluder(emptied, 0, rule).any()
    assert occluder(truth, 0, rule).any()


def test_images_do_not_mix():
    """The second image has the objects of the first in other slots and none of its first's."""
    one = make_truth([FAR, NEAR], [FAR & ~NEAR, NEAR], cluster=[0, 0], order=[2, 1])
    other = make_truth([FAR], [FAR & ~NEAR], cluster=[0], order=[2])
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), one, other)
    index, some = jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1), bool)
    targets = MaskTargets.of(RoISamples(both.boxes[:, :1], index, some, some), both, 1)
    for rule in ("orders", "overlap"):
        first, second = np.asarray(targets.occluder(SIZE, rule), bool)
        np.testing.assert_array_equal(first, in_box(NEAR, one.boxes[0, 0]))
        assert not second.any()


def test_records_have_what_it_takes(tiny_dataset):
    """In each of these images the first object hides the lower right of the second, as its file says."""
    data = dataclasses.replace(micro_config().data, directory=str(tiny_dataset), flip=False)
    batch = next(training_batches(dataclasses.replace(micro_config(), data=data), batch_size=1))
    truth = jax.tree.map(jnp.asarray, batch.truth)
    found = occluder(truth, 1, "orders")
    # It covers the box of 24 x 30 pixels from column 16 and row 6 on: from bins 18.7 and 5.6.
    expected = np.zeros((SIZE, SIZE), bool)
    expected[6:, 19:] = True
    np.testing.assert_array_equal(found, expected)
    assert not occluder(truth, 0, "orders").any()
