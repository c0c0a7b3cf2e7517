import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.masks import crops


def areas_by_counting(mask, box, fine):
    """The covered share of each cell from `fine` x `fine` points in each."""
    offset = (np.arange(112 * fine) + 0.5) / (112 * fine)
    x = np.floor(box[0] + offset * (box[2] - box[0])).astype(int)
    y = np.floor(box[1] + offset * (box[3] - box[1])).astype(int)
    padded = np.pad(mask, 200)
    points = padded[np.ix_(y + 200, x + 200)]
    return points.reshape(112, fine, 112, fine).mean(axis=(1, 3))


@settings(max_examples=40)
@given(st.integers(0, 2**31 - 1))
def test_equals_counting_points(seed):
    """Boxes at fractions of pixels, also beyond the image; cells that are covered by about half may fall either way."""
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.uniform(size=(12, 15)) < 0.5, np.ones((10, 10))).astype(bool)
    corner = rng.uniform(-40, 120, 2)
    box = np.concatenate([corner, corner + rng.uniform(2, 100, 2)])
    share = areas_by_counting(mask, box, 8)
    clear = np.abs(share - 0.5) > 0.15
    np.testing.assert_array_equal(crops.crop_mask(mask, box)[clear], share[clear] > 0.5)


def test_cells_of_one_pixel_are_the_mask():
    mask = np.random.default_rng(0).uniform(size=(150, 140)) < 0.5
    box = np.array([20, 30, 132, 142])
    np.testing.assert_array_equal(crops.crop_mask(mask, box), mask[30:142, 20:132])


def test_half_covered_cell_is_set():
    mask = np.zeros((224, 224), bool)
    mask[::2] = True
    assert crops.crop_mask(mask, np.array([0, 0, 224, 224])).all()
    mask[0, 0] = False
    assert not crops.crop_mask(mask, np.array([0, 0, 224, 224]))[0, 0]


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [9, 9, 5, 5], [500, 500, 600, 600], [-60, 0, -50, 9]])
def test_boxes_without_pixels_give_empty_crops(box):
    assert not crops.crop_mask(np.ones((20, 20), bool), np.array(box)).any()


def test_pack_round_trip():
    crop = np.random.default_rng(0).uniform(size=(112, 112)) < 0.3
    packed = crops.pack_crop(crop)
    assert packed.shape == (112, 14)
    np.testing.assert_array_equal(crops.unpack_crop(packed), crop)


def test_any_memory_order():
    mask = np.random.default_rng(0).uniform(size=(60, 50)) < 0.5
    box = np.array([3.5, 4.25, 47, 51])
    np.testing.assert_array_equal(crops.crop_mask(np.asfortranarray(mask), box), crops.crop_mask(mask, box))
