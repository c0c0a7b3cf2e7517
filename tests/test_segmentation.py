import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from amodal_jax import segmentation
from tests.data.odd_masks import compressed

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(masks)
def test_every_form_of_a_run_length_code_gives_the_mask_back(mask):
    height, width = mask.shape
    rle = segmentation.encode(mask)
    runs = segmentation.run_lengths(rle["counts"]).tolist()
    forms = [
        rle,
        {"size": [height, width], "counts": rle["counts"].encode()},
        {"size": (height, width), "counts": runs},
    ]
    for form in forms:
        parsed = segmentation.parse(form, height, width)
        assert parsed.flaws == ()
        np.testing.assert_array_equal(segmentation.decode(parsed.rle), mask)
    assert segmentation.area(rle) == mask.sum()


@given(masks)
def test_run_lengths_are_the_runs_down_the_columns(mask):
    runs = segmentation.run_lengths(segmentation.encode(mask)["counts"])
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    np.testing.assert_array_equal(pixels.reshape(mask.shape, order="F"), mask)


@given(masks, st.data())
def test_columns_are_those_of_the_whole_mask(mask, data):
    first = data.draw(st.integers(0, mask.shape[1]))
    last = data.draw(st.integers(first, mask.shape[1]))
    np.testing.assert_array_equal(
        segmentation.decode_columns(segmentation.encode(mask), first, last), mask[:, first:last]
    )


@given(masks)
def test_bounding_box_is_tight(mask):
    x1, y1, x2, y2 = (int(edge) for edge in segmentation.bounding_box(segmentation.encode(mask)))
    if not mask.any():
        assert (x1, y1, x2, y2) == (0, 0, 0, 0)
        return
    assert mask[y1:y2, x1:x2].sum() == mask.sum()
    box = mask[y1:y2, x1:x2]
    assert box[0].any()
    assert box[-1].any()
    assert box[:, 0].any()
    assert box[:, -1].any()


@given(st.integers(0, 30), st.integers(0, 20), st.integers(1, 30), st.integers(1, 20))
def test_a_rectangle_with_corners_on_whole_pixels_is_exact(x, y, width, height):
    mask = np.zeros((40, 60), bool)
    mask[y : y + height, x : x + width] = True
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    flat = [coordinate for corner in corners for coordinate in corner]
    for form in ([flat], flat, [corners]):
        parsed = segmentation.parse(form, 40, 60)
        assert parsed.flaws == ()
        np.testing.assert_array_equal(segmentation.decode(parsed.rle), mask)


@given(st.lists(st.lists(st.floats(-5, 45), min_size=6, max_size=20).filter(lambda p: len(p) % 2 == 0), min_size=1))
def test_polygons_are_drawn_as_pycocotools_draws_them(polygons):
    parsed = segmentation.parse(polygons, 30, 40)
    united = np.zeros((30, 40), bool)
    for polygon in polygons:
        united |= coco_mask.decode(coco_mask.frPyObjects([polygon], 30, 40))[..., 0].astype(bool)
    np.testing.assert_array_equal(segmentation.decode(parsed.rle), united)


def test_polygons_that_cannot_be_drawn_are_named_and_the_others_kept():
    square = [2, 2, 8, 2, 8, 8, 2, 8]
    # pycocotools takes every polygon of a list for a box when the first has four numbers.
    text, truths = [str(number) for number in square], [True, False] * 4
    spoilt = [[1, 2, 3], ["a"] * 6, text, truths, [float("nan")] * 6, [10**400] * 6]
    parsed = segmentation.parse([[1, 1, 5, 5], square, *spoilt], 20, 20)
    assert set(parsed.flaws) == {segmentation.POLYGON_TOO_SHORT, segmentation.POLYGON_UNREADABLE}
    assert parsed.rle == segmentation.parse([square], 20, 20).rle


def test_a_wild_coordinate_does_not_stop_the_machine():
    assert segmentation.parse([[0, 0, 1e12, 0, 5, 5]], 20, 20) == (None, (segmentation.POLYGON_TOO_FAR,))


def test_what_lies_outside_the_image_is_cut_off_and_named():
    parsed = segmentation.parse([[-10, 5, 10, 5, 10, 15, -10, 15]], 20, 20)
    assert parsed.flaws == (segmentation.BEYOND_IMAGE,)
    assert segmentation.bounding_box(parsed.rle) == (0, 5, 10, 15)
    on_the_border = segmentation.parse([[0, 0, 20, 0, 20, 20, 0, 20]], 20, 20)
    assert on_the_border.flaws == ()
    assert segmentation.area(on_the_border.rle) == 400


@pytest.mark.parametrize(
    ("rle", "flaw"),
    [
        ({"size": [4, 5], "counts": [3, 4]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": [30, -10]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": []}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": ""}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": "abc"}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": "é"}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": "o" * 40}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": [3.5, 16.5]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": [float("nan"), 20]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": ["20"]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": [True, 19]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": [[20]]}, segmentation.RLE_UNREADABLE),
        ({"size": [4, 5], "counts": [2**64, 20]}, segmentation.RLE_UNREADABLE),
        ({"size": ["4", 5], "counts": [20]}, segmentation.SIZE_DIFFERS),
        ({"size": [5, 4], "counts": [20]}, segmentation.SIZE_DIFFERS),
        ({"counts": [20]}, segmentation.SIZE_DIFFERS),
        (None, segmentation.POLYGON_UNREADABLE),
        ("polygon", segmentation.POLYGON_UNREADABLE),
    ],
)
def test_what_is_no_mask_is_refused(rle, flaw):
    assert segmentation.parse(rle, 4, 5) == (None, (flaw,))


@given(st.text(alphabet=[chr(code) for code in range(33, 127)], max_size=12))
def test_any_text_is_a_mask_of_the_image_or_refused(counts):
    parsed = segmentation.parse({"size": [6, 7], "counts": counts}, 6, 7)
    if parsed.rle is None:
        assert parsed.flaws == (segmentation.RLE_UNREADABLE,)
    else:
        assert segmentation.decode(parsed.rle).shape == (6, 7)


@given(masks, st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([2, 4, 100])), max_size=4))
def test_runs_of_no_pixel_change_nothing(mask, empty_runs):
    height, width = mask.shape
    rle = segmentation.encode(mask)
    runs = segmentation.run_lengths(rle["counts"]).tolist()
    for place, count in empty_runs:
        place %= len(runs) + 1
        runs[place:place] = [0] * count
    for counts in (runs, [float(run) for run in runs], compressed(runs), compressed(runs).encode()):
        form = {"size": [height, width], "counts": counts}
        assert segmentation.parse(form, height, width) == (rle, ())
        # A first run of no background is what a mask that begins with a pixel has.
        assert segmentation.has_empty_runs(form) == (0 in runs[1:])


@pytest.mark.parametrize("counts", [[20, 0], [0, 0, 20], [0, 0, 0, 0, 20, 0, 0], [7, 0, 13], "P`40"])
def test_an_empty_mask_has_no_box(counts):
    if counts == "P`40":  # [48 * 96, 0]
        parsed = segmentation.parse({"size": [48, 96], "counts": counts}, 48, 96)
    else:
        parsed = segmentation.parse({"size": [4, 5], "counts": counts}, 4, 5)
    assert parsed.flaws == ()
    assert segmentation.bounding_box(parsed.rle) == (0, 0, 0, 0)
    assert parsed.rle == segmentation.empty(*parsed.rle["size"])


def test_an_empty_list_is_no_mask():
    assert segmentation.parse([], 4, 5) == (None, ())


@given(
    st.integers(1, 6).flatmap(
        lambda count: st.lists(st.integers(0, 2**20 - 1), min_size=count, max_size=count),
    )
)
def test_majority_is_counted_in_every_pixel(bits):
    masks = np.array(
        [[[number >> (5 * row + column) & 1 for column in range(5)] for row in range(4)] for number in bits]
    )
    voted = segmentation.majority([segmentation.encode(mask.astype(bool)) for mask in masks])
    np.testing.assert_array_equal(segmentation.decode(voted), masks.sum(axis=0) * 2 > len(masks))
    assert voted == segmentation.encode(segmentation.decode(voted))
