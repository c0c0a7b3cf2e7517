from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from amodal_jax.masks import paste

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ops" / "mask_output.npz"


@pytest.fixture
def golden():
    return np.load(GOLDEN)


def encode_whole(pasted):
    rle = coco_mask.encode(np.asfortranarray(pasted.astype(np.uint8)))
    return {"size": list(pasted.shape), "counts": rle["counts"].decode("ascii")}


def test_pastes_as_torchvision(golden):
    height, width = (int(side) for side in golden["image_size"])
    expected = np.unpackbits(golden["packed"], axis=-1, count=width).astype(bool)
    assert expected.any(axis=(1, 2)).sum() > 20
    for mask, box, pasted in zip(golden["masks"], golden["boxes"], expected, strict=True):
        np.testing.assert_array_equal(paste.paste_mask(mask, box, (height, width)), pasted)


def test_encodes_as_the_whole_image(golden):
    size = tuple(int(side) for side in golden["image_size"])
    encoded = paste.encode_masks(golden["masks"], golden["boxes"], size)
    for rle, mask, box in zip(encoded, golden["masks"], golden["boxes"], strict=True):
        assert rle == encode_whole(paste.paste_mask(mask, box, size))


@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([0.0, 0.3, 0.5, 0.9]),
)
def test_any_box_on_any_image(seed, size, threshold):
    """Random boxes, beyond the image and inverted ones included: the same bytes, and the same area."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-20, 60, (4, 4)).astype(np.float32)
    probabilities = rng.uniform(size=(4, 28, 28)).astype(np.float32)
    for rle, mask, box in zip(
        paste.encode_masks(probabilities, boxes, size, threshold), probabilities, boxes, strict=True
    ):
        pasted = paste.paste_mask(mask, box, size, threshold)
        assert rle == encode_whole(pasted)
        assert coco_mask.area(rle) == pasted.sum()


def test_full_and_empty_masks():
    full, empty = np.ones((1, 28, 28), np.float32), np.zeros((1, 28, 28), np.float32)
    box = np.array([[-9, -9, 60, 60]], np.float32)
    assert coco_mask.area(paste.encode_masks(full, box, (30, 40))[0]) == 30 * 40
    assert coco_mask.area(paste.encode_masks(empty, box, (30, 40))[0]) == 0
    beyond = np.array([[100, 100, 120, 120]], np.float32)
    assert not paste.paste_mask(full[0], beyond[0], (30, 40)).any()
    assert coco_mask.area(paste.encode_masks(full, beyond, (30, 40))[0]) == 0


def test_no_masks():
    assert paste.encode_masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), (30, 40)) == []
