import functools
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.masks import crops
from amodal_jax.ops import masks


def box_of(mask):
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)


def real_masks(folder):
    """The amodal masks of the COCOA samples that are at least 24 pixels wide and high."""
    for path in sorted((folder / "cocoa").glob("*.json")):
        annotation = json.loads(path.read_text())
        image = cv2.imread(str(path.with_suffix(".jpg")))
        for region in annotation["regions"]:
            polygon = np.round(np.reshape(region["segmentation"], (-1, 2))).astype(np.int32)
            mask = np.zeros(image.shape[:2], np.uint8)
            cv2.fillPoly(mask, [polygon], 1)
            if mask.any() and np.ptp(box_of(mask).reshape(2, 2), axis=0).min() >= 24:
                yield mask.astype(bool)


def blobs(count=30):
    """Connected shapes of several bulges, in an image of a KITTI frame's height."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        side = np.exp(rng.uniform(np.log(30), np.log(300)))
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        radius = side / 2 * (0.75 + 0.2 * np.sin(rng.integers(2, 6) * angle + rng.uniform(0, 6)))
        stretch = np.exp(rng.uniform(-0.5, 0.5))
        centre = rng.uniform([150, 150], [450, 225])
        outline = centre + np.stack([radius * np.cos(angle) * stretch, radius * np.sin(angle)], axis=1)
        mask = np.zeros((375, 600), np.uint8)
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
        yield mask.astype(bool)


def sampling_weights(low, high, length, bins=28):
    """ROIAlign's weight of each pixel in each bin along one axis, with at least one sample a pixel: [bins, length]."""
    ratio = int(np.ceil((high - low) / bins))
    position = low - 0.5 + (np.arange(bins * ratio) + 0.5) / (bins * ratio) * (high - low)
    inside = (position >= -1) & (position <= length)
    distance = np.abs(np.clip(position, 0, length - 1)[:, None] - np.arange(length))
    return (np.maximum(1 - distance, 0) * inside[:, None]).reshape(bins, ratio, length).mean(axis=1)


def full_resolution_coverage(mask, box):
    """ROIAlign of the whole mask, whose samples are separable."""
    rows = sampling_weights(box[1], box[3], mask.shape[0])
    columns = sampling_weights(box[0], box[2], mask.shape[1])
    return rows @ mask @ columns.T


def test_the_reference_is_the_roi_align_of_torchvision(golden):
    """detectron2's mask targets: ROIAlign of the whole mask with all samples there are, aligned, and one half."""
    for packed, rois, coverage in zip(golden["masks"], golden["rois"], golden["coverage"], strict=True):
        mask = np.unpackbits(packed, axis=-1)
        for roi, expected in zip(rois, coverage.astype(np.float64), strict=True):
            np.testing.assert_allclose(full_resolution_coverage(mask, roi), expected, atol=1e-3)  # stored in 16 bits


def test_targets_equal_those_of_detectron2(golden):
    overlaps = []
    for packed, rois, coverage in zip(golden["masks"], golden["rois"], golden["coverage"], strict=True):
        mask, truth = np.unpackbits(packed, axis=-1).astype(bool), rois[0]
        crop = crops.pack_crop(crops.crop_mask(mask, truth))
        targets = masks.mask_targets(
            jnp.asarray(crop[None]), jnp.asarray(truth[None]), jnp.asarray(rois), jnp.zeros(len(rois), jnp.int32)
        )
        for target, expected in zip(np.asarray(targets, bool), coverage >= 0.5, strict=True):
            overlaps.append((target & expected).sum() / (target | expected).sum())
    assert np.mean(overlaps) >= 0.97
    assert min(overlaps) >= 0.9


def overlap_with_full_resolution(all_masks):
    """IoU of the targets from crops and from whole masks, for each mask and three RoIs about its box."""
    rng = np.random.default_rng(1)
    overlaps = []
    cut = jax.jit(masks.mask_targets)
    for mask in all_masks:
        truth = box_of(mask)
        side = np.tile(truth[2:] - truth[:2], 2)
        rois = np.stack([truth, *(truth + rng.uniform(-0.15, 0.15, (2, 4)) * side)]).astype(np.float32)
        packed = crops.pack_crop(crops.crop_mask(mask, truth))
        targets = cut(jnp.asarray(packed[None]), jnp.asarray(truth[None]), jnp.asarray(rois), jnp.zeros(3, jnp.int32))
        for roi, target in zip(rois, np.asarray(targets, bool), strict=True):
            expected = full_resolution_coverage(mask, roi) >= 0.5
            overlaps.append((target & expected).sum() / (target | expected).sum())
    return np.array(overlaps)


def test_unpack():
    crops = np.random.default_rng(0).uniform(size=(3, 112, 112)) < 0.5
    packed = np.packbits(crops, axis=-1)
    np.testing.assert_array_equal(masks.unpack_crops(jnp.asarray(packed)), crops)


def test_targets_of_random_shapes_equal_those_of_whole_masks():
    overlaps = overlap_with_full_resolution(blobs())
    assert overlaps.mean() >= 0.97
    assert overlaps.min() >= 0.9


def test_targets_of_real_masks_equal_those_of_whole_masks(sample_data):
    overlaps = overlap_with_full_resolution(real_masks(sample_data))
    assert len(overlaps) > 60
    assert overlaps.mean() >= 0.97


def packed_shape():
    """A truth box of 56 x 112 pixels whose upper half is covered."""
    mask = np.zeros((200, 200), bool)
    mask[20:76, 10:66] = True
    truth = np.array([10, 20, 66, 132], np.float32)
    return jnp.asarray(crops.pack_crop(crops.crop_mask(mask, truth))), jnp.asarray(truth)


def test_outside_the_truth_box_is_empty():
    packed, truth = packed_shape()
    wide = jnp.asarray([truth - jnp.asarray([56, 0, -56, 0])])
    (target,) = masks.mask_targets(packed[None], truth[None], wide, jnp.zeros(1, jnp.int32), size=12)
    expected = np.zeros((12, 12))
    expected[:6, 4:8] = 1
    np.testing.assert_array_equal(target, expected)


def test_mirrored_with_the_image():
    """A crop with its columns reversed and boxes flipped give the mirrored target."""
    (mask,) = blobs(1)
    truth = box_of(mask)
    roi = truth + np.array([-7, 5, 12, 9], np.float32)
    width = mask.shape[1]
    target = functools.partial(masks.mask_targets, truth_index=jnp.zeros(1, jnp.int32))

    def cut(image_mask, frame, box):
        packed = crops.pack_crop(crops.crop_mask(image_mask, frame))
        return target(jnp.asarray(packed[None]), jnp.asarray(frame[None]), jnp.asarray(box[None]))[0]

    def flip(box):
        return np.array([width - box[2], box[1], width - box[0], box[3]], np.float32)

    # Bins that are covered by half almost exactly may round either way.
    assert np.mean(cut(mask, truth, roi)[:, ::-1] != cut(mask[:, ::-1].copy(), flip(truth), flip(roi))) < 0.005


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [30, 30, 30, 60], [500, 500, 600, 600]])
def test_degenerate_boxes_give_finite_targets(box):
    packed, truth = packed_shape()
    boxes = jnp.asarray([box], jnp.float32)
    index = jnp.zeros(1, jnp.int32)
    assert np.isfinite(masks.mask_targets(packed[None], truth[None], boxes, index)).all()
    no_truth = masks.mask_targets(packed[None], jnp.zeros((1, 4)), jnp.asarray([[5.0, 5, 60, 60]]), index)
    assert (no_truth == 0).all()


def test_truth_index_and_vmap():
    packed, truth = packed_shape()
    crops = jnp.stack([jnp.zeros_like(packed), packed])
    truths = jnp.stack([truth, truth])
    boxes = jnp.stack([truth, truth])
    indices = jnp.asarray([[0, 1], [1, 0]])
    targets = jax.vmap(lambda index: masks.mask_targets(crops, truths, boxes, index))(indices)
    np.testing.assert_allclose(targets.mean(axis=(2, 3)), [[0, 0.5], [0.5, 0]])


def test_halves_in_the_frame_of_the_truth_box_count_as_covered():
    """A RoI that is its truth box takes exactly the majority of 4 x 4 cells, wherever the box lies."""
    rng = np.random.default_rng(0)
    cells = rng.uniform(size=(50, 112, 112)) < 0.5
    corner = rng.uniform([0, 0], [1200, 360], (50, 2))
    truths = jnp.asarray(np.concatenate([corner, corner + np.exp(rng.uniform(0, 6, (50, 2)))], axis=1), jnp.float32)
    targets = jax.jit(masks.mask_targets)(jnp.asarray(np.packbits(cells, axis=-1)), truths, truths, jnp.arange(50))
    counts = cells.reshape(50, 28, 4, 28, 4).sum(axis=(2, 4))
    assert (counts == 8).mean() > 0.15
    np.testing.assert_array_equal(targets, counts >= 8)


@pytest.mark.parametrize(("threshold", "expected"), [(0.25, [1, 1, 1, 0]), (0.4, [1, 1, 0, 0]), (0.75, [1, 0, 0, 0])])
def test_the_threshold_is_the_covered_share_of_a_cell(threshold, expected):
    """Of four cells that the mask covers whole, by a half, by a quarter and not."""
    crop = np.zeros((112, 112), np.uint8)
    for column, share in enumerate((28, 14, 7)):
        crop[:, 28 * column : 28 * column + share] = 1
    box = jnp.asarray([[0.0, 0, 112, 112]])
    packed = jnp.asarray(np.packbits(crop, axis=1))[None]
    target = masks.mask_targets(packed, box, box, jnp.zeros(1, jnp.int32), size=4, threshold=threshold)
    np.testing.assert_array_equal(target[0], [expected] * 4)


def test_mask_iou_is_that_of_areas():
    """Of rectangles of whole cells in boxes that lie on each other, in part and not at all."""
    crop = np.zeros((112, 112), bool)
    crop[:56] = True  # the upper half
    packed = jnp.asarray(np.packbits(crop, axis=1))[None]
    truth = jnp.float32([[10, 20, 122, 132]])
    half, full, none = np.zeros((7, 7), bool), np.ones((7, 7), bool), np.zeros((7, 7), bool)
    half[:, :3] = True
    cases = [
        (full, [10, 20, 122, 132], 1 / 2),  # all of the box, of which a half is the object's
        (full, [10, 20, 122, 76], 1),
        (full, [10, 20, 66, 76], 1 / 2),  # a half of the object; the other half is outside the RoI
        (full, [-46, 20, 66, 76], 1 / 3),  # as much beside the object as on it
        (half, [10, 20, 122, 76], 3 / 7),
        (none, [10, 20, 122, 132], 0),
        (full, [200, 20, 222, 132], 0),
        (full, [30, 30, 30, 30], 0),
    ]
    found = masks.mask_iou(
        jnp.asarray(np.stack([case[0] for case in cases])),
        jnp.float32([case[1] for case in cases]),
        packed,
        truth,
        jnp.zeros(len(cases), jnp.int32),
    )
    np.testing.assert_allclose(found, [case[2] for case in cases], rtol=1e-5)
    nothing = masks.mask_iou(jnp.asarray(none)[None], truth, jnp.zeros_like(packed), truth, jnp.zeros(1, jnp.int32))
    np.testing.assert_array_equal(nothing, 0)
