import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from amodal_jax.gallery import GalleryObject, Picture, gallery_card, mask_path


def polygons(path):
    return [
        np.array([[float(value) for value in point.split(",")] for point in part[1:].split(" ")])
        for part in path.split("Z")
        if part
    ]


def area(path):
    """Even-odd area of nested polygons: holes turn the other way than what they are in."""
    total = 0.0
    for points in polygons(path):
        x, y = points.T
        total += np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2
    return abs(total)


def test_path_follows_the_mask_s_edges():
    mask = np.zeros((50, 80), bool)
    mask[10:30, 20:60] = True
    (outline,) = polygons(mask_path(mask))
    np.testing.assert_allclose([outline.min(0), outline.max(0)], [[20, 10], [60, 30]], atol=0.25)
    assert len(outline) == 4


def test_holes_and_parts():
    mask = np.zeros((60, 100), bool)
    mask[10:40, 10:50] = True
    mask[20:30, 20:40] = False
    mask[50:58, 70:90] = True
    path = mask_path(mask)
    assert len(polygons(path)) == 3
    perimeter = 2 * (30 + 40) + 2 * (10 + 20) + 2 * (8 + 20)
    # Contours run through the middles of the outermost of four points to a pixel, an eighth of a pixel inside.
    assert area(path) == pytest.approx(mask.sum() - perimeter / 8, abs=10)
    assert mask_path(np.zeros((4, 4), bool)) == ""


def test_small_parts_can_be_left_out():
    mask = np.zeros((60, 100), bool)
    mask[10:40, 10:50] = True
    mask[50, 70:72] = True
    assert len(polygons(mask_path(mask))) == 2
    assert len(polygons(mask_path(mask, smallest=3.0))) == 1


@hypothesis.given(st.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=30)
def test_path_has_the_mask_s_area(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :90]
    mask = np.zeros((60, 90), bool)
    for _ in range(3):
        cx, cy, rx, ry = rng.uniform((10, 10, 6, 6), (80, 50, 30, 20))
        mask ^= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
    edges = (mask[:, 1:] != mask[:, :-1]).sum() + (mask[1:] != mask[:-1]).sum() + 2 * (mask[0].sum() + mask[:, 0].sum())
    assert abs(area(mask_path(mask)) - mask.sum()) < 0.3 * edges + 1


def thing(**changes):
    values = {"class_name": "car", "box": (5.0, 5.0, 25.0, 15.0), "score": 0.5, "remark": "", "details": "car"}
    return GalleryObject(**(values | {"amodal_rle": None, "inmodal_rle": None} | changes))


def test_an_object_without_masks_is_outlined_by_its_box():
    picture = Picture("a.png", np.zeros((30, 40, 3), np.uint8), [thing(score=None)], [])
    card = gallery_card(0, picture, largest_image=10_000)
    assert 'class="stroke" id="o0t0" d="M5.0,5.0 25.0,5.0 25.0,15.0 5.0,15.0Z"' in card
    assert "0 objects" in card
    assert "1 object<" in card


def test_of_two_detections_of_one_object_the_better_matches():
    image = np.zeros((30, 40, 3), np.uint8)
    predicted = [thing(score=0.9), thing(score=0.8, box=(6.0, 5.0, 26.0, 15.0))]
    card = gallery_card(0, Picture("a.png", image, [thing(score=None)], predicted), largest_image=10_000)
    keys = [part.split('"')[0] for part in card.split('<g class="outlines">')[2].split('data-key="')[1:3]]
    assert sorted(keys) == ["p1", "t0"]
    assert 'data-key="t0" data-score="0.9000"' in card


def test_an_odd_mask_is_drawn_or_named():
    image, (height, width) = np.zeros((30, 40, 3), np.uint8), (30, 40)
    pixels = np.zeros((height, width), bool)
    pixels[5:15, 5:25] = True
    rle = segmentation.encode(pixels)
    odd = {"size": [height, width], "counts": [*segmentation.run_lengths(rle["counts"]).tolist(), *[0] * 2000]}
    cards = [
        gallery_card(0, Picture("a", image, [thing(inmodal_rle=one)], []), largest_image=9999) for one in (rle, odd)
    ]
    assert cards[0] == cards[1]
    for damaged in ({"size": [30, 40], "counts": "oooo"}, {"size": [40, 30], "counts": rle["counts"]}):
        picture = Picture("a", image, [thing(inmodal_rle=damaged, details="car, annotation 7")], [])
        with pytest.raises(DataError, match="the mask of car, annotation 7 cannot be read: run-length code"):
            gallery_card(0, picture, largest_image=9999)
