from pathlib import Path
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from amodal_jax.masks import paste as pasting
from amodal_jax.masks.crops import crop_mask, pack_crop
from amodal_jax.ops.masks import mask_targets
from amodal_jax.structures import MaskPaste

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ops"
PASTES = get_args(MaskPaste)
NEAR = 1e-5  # of the threshold: there rounding decides


@pytest.fixture
def golden():
    return np.load(GOLDEN / "mask_output.npz")


def encode_whole(pasted):
    rle = coco_mask.encode(np.asfortranarray(pasted.astype(np.uint8)))
    return {"size": list(pasted.shape), "counts": rle["counts"].decode("ascii")}


def sampled_at_centres(probability, box, size):
    """The probability at the centre of each pixel of an image, pixel by pixel and cell by cell.

    detectron2's: -1 and 1 are the sides of the box, cell k of M has its centre at (2 k + 1) / M - 1, and there are
    zeros around.
    """
    cells = len(probability)
    sampled = np.zeros(size)
    bordered = np.pad(probability.astype(np.float64), 1)
    for row in range(size[0]):
        for column in range(size[1]):
            place = []
            for centre, low, high in ((row + 0.5, box[1], box[3]), (column + 0.5, box[0], box[2])):
                normalised = (centre - low) / (high - low) * 2 - 1
                place.append(((normalised + 1) * cells - 1) / 2 + 1)
            y, x = np.floor(place).astype(int)
            if not (0 <= y <= cells and 0 <= x <= cells):
                continue
            v, u = place[0] - y, place[1] - x
            upper = bordered[y, x] * (1 - u) + bordered[y, x + 1] * u
            lower = bordered[y + 1, x] * (1 - u) + bordered[y + 1, x + 1] * u
            sampled[row, column] = upper * (1 - v) + lower * v
    return sampled


def test_pastes_as_torchvision(golden):
    height, width = (int(side) for side in golden["image_size"])
    expected = np.unpackbits(golden["packed"], axis=-1, count=width).astype(bool)
    assert expected.any(axis=(1, 2)).sum() > 20
    for mask, box, pasted in zip(golden["masks"], golden["boxes"], expected, strict=True):
        found = pasting.paste_mask(mask, box, (height, width), paste="torchvision")
        np.testing.assert_array_equal(found, pasted)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_pastes_at_pixel_centres_as_pytorch_samples_there(threshold):
    golden = np.load(GOLDEN / "mask_paste.npz")
    found = [
        pasting.paste_mask(mask, box, probability.shape, threshold)
        for mask, box, probability in zip(*(golden[name] for name in ("masks", "boxes", "probability")), strict=True)
    ]
    assert np.any(found, axis=(1, 2)).sum() > 8
    expected = golden["probability"] >= threshold
    clear = np.abs(golden["probability"] - threshold) > NEAR
    assert clear.mean() > 0.9999
    np.testing.assert_array_equal(np.stack(found)[clear], expected[clear])


@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.sampled_from([1, 2, 5, 28]),
    st.sampled_from([0.1, 0.5, 0.9]),
)
def test_pastes_at_pixel_centres_pixel_by_pixel(seed, size, cells, threshold):
    """Boxes over the borders, beyond them and under a pixel."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-8, 16, 2)
    box = np.concatenate([corner, corner + np.exp(rng.uniform(-3, 3, 2))]).astype(np.float32)
    probability = rng.uniform(size=(cells, cells)).astype(np.float32)
    sampled = sampled_at_centres(probability, box, size)
    clear = np.abs(sampled - threshold) > NEAR
    found = pasting.paste_mask(probability, box, size, threshold)
    np.testing.assert_array_equal(found[clear], (sampled >= threshold)[clear])


@given(
    st.integers(0, 2**31 - 1), st.tuples(st.integers(-4, 8), st.integers(-4, 8)), st.tuples(*[st.integers(0, 4)] * 2)
)
def test_the_threshold_itself_belongs_to_a_mask_at_pixel_centres(seed, corner, logarithms):
    """Eighths in boxes of powers of two, in which nothing is rounded."""
    rng = np.random.default_rng(seed)
    probability = (rng.integers(0, 9, (4, 4)) / 8).astype(np.float32)
    box = np.array([*corner, corner[0] + 2 ** logarithms[0], corner[1] + 2 ** logarithms[1]], np.float32)
    sampled = sampled_at_centres(probability, box, (12, 12))
    np.testing.assert_array_equal(pasting.paste_mask(probability, box, (12, 12), 0.5), sampled >= 0.5)


@pytest.mark.parametrize("paste", PASTES)
def test_encodes_as_the_whole_image(golden, paste):
    size = tuple(int(side) for side in golden["image_size"])
    encoded = pasting.encode_masks(golden["masks"], golden["boxes"], size, paste=paste)
    for rle, mask, box in zip(encoded, golden["masks"], golden["boxes"], strict=True):
        assert rle == encode_whole(pasting.paste_mask(mask, box, size, paste=paste))


@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    st.sampled_from(PASTES),
)
def test_any_box_on_any_image(seed, size, threshold, paste):
    """Random boxes, beyond the image and inverted ones included: the same bytes, and the same area."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-20, 60, (4, 4)).astype(np.float32)
    probabilities = rng.uniform(size=(4, 28, 28)).astype(np.float32)
    for rle, mask, box in zip(
        pasting.encode_masks(probabilities, boxes, size, threshold, paste), probabilities, boxes, strict=True
    ):
        pasted = pasting.paste_mask(mask, box, size, threshold, paste)
        assert rle == encode_whole(pasted)
        assert coco_mask.area(rle) == pasted.sum()


@pytest.mark.parametrize("paste", PASTES)
def test_full_and_empty_masks(paste):
    full, empty = np.ones((1, 28, 28), np.float32), np.zeros((1, 28, 28), np.float32)
    box = np.array([[-9, -9, 60, 60]], np.float32)

    def area(masks, boxes):
        return coco_mask.area(pasting.encode_masks(masks, boxes, (30, 40), paste=paste)[0])

    assert area(full, box) == 30 * 40
    assert area(empty, box) == 0
    beyond = np.array([[100, 100, 120, 120]], np.float32)
    assert not pasting.paste_mask(full[0], beyond[0], (30, 40), paste=paste).any()
    assert area(full, beyond) == 0


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 9, 8, 9], [9, 5, 5, 9], [np.nan, 0, 5, 5]])
def test_a_box_without_area_has_no_mask(box):
    assert not pasting.paste_mask(np.ones((28, 28), np.float32), np.array(box, np.float32), (30, 40)).any()


@pytest.mark.parametrize("box", [[3, 4, 9, 17], [0, 0, 40, 30], [2.5, 3.5, 7.5, 4.5]])
def test_a_full_mask_fills_its_box_and_no_pixel_more(box):
    """The probability is a half at the sides, where a pixel is half in the box."""
    pasted = pasting.paste_mask(np.ones((28, 28), np.float32), np.array(box, np.float32), (30, 40), 0.5)
    x, y = np.arange(40) + 0.5, np.arange(30) + 0.5
    expected = ((y >= box[1]) & (y <= box[3]))[:, None] & ((x >= box[0]) & (x <= box[2]))
    # At the corners two halves meet.
    corners = np.isin(y, [box[1], box[3]])[:, None] & np.isin(x, [box[0], box[2]])
    np.testing.assert_array_equal(pasted, expected & ~corners)


def test_no_masks():
    assert pasting.encode_masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), (30, 40)) == []


def outline(rng, side: float) -> np.ndarray:
    """An object with lobes, about `side` pixels high, from which its box is drawn."""
    sides = side * np.array([np.exp(rng.uniform(np.log(0.4), np.log(2.5))), 1])
    width, height = (int(length * 1.4) + 8 for length in sides)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    dx, dy = (x - width / 2 - rng.uniform(-0.5, 0.5)) / sides[0], (y - height / 2 - rng.uniform(-0.5, 0.5)) / sides[1]
    lobes = 0.8 + 0.2 * np.sin(rng.integers(2, 6) * np.arctan2(dy, dx) + rng.uniform(0, 6))
    return np.hypot(dx, dy) <= 0.5 * lobes


def ious_of_ideal_masks(smallest: float, largest: float, count: int) -> dict[str, np.ndarray]:
    """The IoU of objects with what is pasted of their training targets, for each paste."""
    rng = np.random.default_rng(0)
    objects = [outline(rng, np.exp(rng.uniform(np.log(smallest), np.log(largest)))) for _ in range(count)]
    boxes = []
    for mask in objects:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append(np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32))
    crops = np.stack([pack_crop(crop_mask(mask, box)) for mask, box in zip(objects, boxes, strict=True)])
    frames = jnp.asarray(np.stack(boxes))
    targets = np.asarray(mask_targets(jnp.asarray(crops), frames, frames, jnp.arange(count)))
    return {
        paste: np.array([iou_pasted(*one, paste) for one in zip(objects, boxes, targets, strict=True)])
        for paste in PASTES
    }


def iou_pasted(mask, box, target, paste) -> float:
    pasted = pasting.paste_mask(target, box, mask.shape, paste=paste)
    return (pasted & mask).sum() / (pasted | mask).sum()


def test_ideal_masks_of_objects_as_large_as_kittis_come_out_as_they_are():
    """What is lost between 28x28 targets and the image is the paste's doing alone."""
    thresholds = np.arange(0.5, 1, 0.05)
    of_all = ious_of_ideal_masks(12, 200, 100)
    assert of_all["pixel_centres"].mean() > 0.975 > 0.945 > of_all["torchvision"].mean()
    small = ious_of_ideal_masks(12, 32, 100)
    found = {paste: (small[paste][:, None] >= thresholds).mean() for paste in PASTES}
    assert found["pixel_centres"] > 0.995 > 0.9 > found["torchvision"]
