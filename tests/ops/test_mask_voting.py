import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.ops.mask_voting import VOTERS, WINDOW, vote
from tests.helpers.voting_reference import vote as reference_vote

SIZE, THRESHOLD = 21, 0.4
THIRD = WINDOW // 3
IMAGE = (120, 140)


def smooth_masks(count, rng):
    """Probabilities of blobs."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    centre, radius = rng.uniform(0.3, 0.7, (count, 2, 1, 1)), rng.uniform(0.3, 0.8, (count, 1, 1))
    distance = np.hypot(y - centre[:, 0], x - centre[:, 1])
    return 1 / (1 + np.exp((distance - radius / 2) * 12)).astype(np.float32)


def scene(seed, candidates=10):
    """A frame of as many pixels as the window's third has cells, and candidates in whole pixels around it."""
    rng = np.random.default_rng(seed)
    frame = np.array([50, 40, 50 + THIRD, 40 + THIRD], np.float32)
    boxes = np.concatenate([frame[None], frame + rng.integers(-9, 10, (candidates - 1, 4))]).astype(np.float32)
    scores = rng.uniform(0.01, 1, (candidates, 2)).astype(np.float32)
    return frame, boxes, scores, smooth_masks(candidates, rng)


def voted(frame, boxes, scores, masks, label=1, valid=None):
    valid = np.ones(len(boxes), bool) if valid is None else valid
    found = vote(
        *map(jnp.asarray, (frame[None], np.array([label]), boxes, scores, valid, masks[None])), threshold=THRESHOLD
    )
    return np.asarray(found[0][0]), np.asarray(found[1][0, 0])


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_vote_on_pixels(seed):
    """The tight box exactly, the mask up to OpenCV's rounding.

    chainercv 0.13.1's `mask_voting`, run once on the same scenes, gave the same boxes, and masks within 2e-6.
    """
    frame, boxes, scores, masks = scene(seed)
    box, mask = voted(frame, boxes, scores, masks)
    inside = np.array([0, 0, 1, 1])
    expected_box, expected = reference_vote(frame - inside, boxes - inside, scores[:, 1], masks, IMAGE, THRESHOLD)
    np.testing.assert_allclose(box - inside, expected_box, atol=1e-4)
    np.testing.assert_allclose(mask, expected, atol=2e-3)


def test_only_voters_count():
    """Neither what overlaps less than by half, nor what is not valid, nor what has no score of the class."""
    frame, boxes, scores, masks = scene(0, candidates=4)
    alone = voted(frame, boxes[:1], scores[:1], masks[:1])
    boxes[1] = frame + np.float32([THIRD * 0.6, 0, THIRD * 0.6, 0])
    scores[3, 1] = 0
    found = voted(frame, boxes, scores, masks, valid=np.array([True, True, False, True]))
    for mine, theirs in zip(found, alone, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_the_voters_of_greatest_weight_count_where_there_are_many():
    frame, boxes, scores, masks = scene(1, candidates=VOTERS + 5)
    boxes = np.tile(frame, (len(boxes), 1))
    best = np.argsort(-scores[:, 1])[:VOTERS]
    found = voted(frame, boxes, scores, masks)
    expected = voted(frame, boxes[best], scores[best], masks[best])
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_mask_that_nothing_reaches_leaves_the_box():
    frame, boxes, scores, masks = scene(2)
    box, mask = voted(frame, boxes, scores, np.full_like(masks, 0.1))
    np.testing.assert_array_equal(box, frame)
    assert not mask.any()


def test_other_kinds_are_in_the_frame_of_the_first():
    """What fills the first kind's box in the second kind is all ones there, and the second kind moves no box."""
    frame, boxes, scores, masks = scene(3)
    both = jnp.asarray(np.stack([masks, np.ones_like(masks)]))
    arguments = map(jnp.asarray, (frame[None], np.array([0]), boxes, scores, np.ones(len(boxes), bool)))
    found_boxes, found = vote(*arguments, both, threshold=THRESHOLD)
    box, mask = voted(frame, boxes, scores, masks, label=0)
    np.testing.assert_allclose(found_boxes[0], box, atol=1e-5)
    np.testing.assert_allclose(found[0, 0], mask, atol=1e-5)
    assert (found[0, 1] >= found[0, 0] - 1e-6).all()


@pytest.mark.parametrize(("scale", "shift"), [(1, (16, 32)), (4, (0, 0))])
def test_the_window_follows_the_box(scale, shift):
    """Of boxes moved by whole pixels, or grown by a whole factor, the masks are the same but for rounding."""
    frame, boxes, scores, masks = scene(4)
    offset = np.float32([*shift, *shift])
    box, mask = voted(frame, boxes, scores, masks)
    moved_box, moved_mask = voted(frame * scale + offset, boxes * scale + offset, scores, masks)
    np.testing.assert_allclose(moved_box, box * scale + offset, atol=1e-3)
    np.testing.assert_allclose(moved_mask, mask, atol=1e-3)


def test_a_wide_and_a_low_candidate_fit_the_window():
    """The candidate that reaches the farthest has twice the frame's area, all of the rest on one side of it."""
    frame = np.array([50, 40, 50 + THIRD, 40 + THIRD], np.float32)
    for far in (np.float32([-THIRD, 0, 0, 0]), np.float32([0, 0, 0, THIRD])):
        box, mask = voted(frame, (frame + far)[None], np.ones((1, 2), np.float32), np.ones((1, SIZE, SIZE), np.float32))
        np.testing.assert_allclose(box, frame + far, atol=1e-4)
        np.testing.assert_allclose(mask, 1, atol=1e-6)


def test_empty_slots_are_finite():
    """Of a frame without area, as slots without a detection have."""
    frame, boxes, scores, masks = scene(5)
    box, mask = voted(np.zeros_like(frame), boxes, scores, masks)
    assert np.isfinite(box).all()
    assert np.isfinite(mask).all()


def test_it_runs_for_each_image_of_a_batch():
    scenes = [scene(seed) for seed in (6, 7)]
    frames, boxes, scores, masks = (jnp.asarray(np.stack(values)) for values in zip(*scenes, strict=True))
    labels, valid = jnp.ones((2, 1), int), jnp.ones((2, boxes.shape[1]), bool)
    found = jax.vmap(lambda *image: vote(*image, threshold=THRESHOLD))(
        frames[:, None], labels, boxes, scores, valid, masks[:, None]
    )
    for number, one in enumerate(scenes):
        box, mask = voted(*one)
        np.testing.assert_allclose(found[0][number, 0], box, atol=1e-5)
        np.testing.assert_allclose(found[1][number, 0, 0], mask, atol=1e-5)
