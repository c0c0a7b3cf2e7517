"""KITTI's maps: what is stored, and how missing values are filled, beside the development kit's loops."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.errors import DataError
from amodal_jax.scene_flow.maps import Map, filled, read_disparity, read_flow, read_foreground


def write(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def test_a_disparity_is_stored_as_256_times_itself(tmp_path):
    path = write(tmp_path / "d.png", np.array([[0, 1, 256, 65535]], np.uint16))
    values, valid = read_disparity(path)
    assert values[0, :, 0].tolist() == [-1, 1 / 256, 1, 65535 / 256]
    assert valid.tolist() == [[False, True, True, True]]


def test_flow_is_stored_in_red_and_green_where_blue_is_set(tmp_path):
    red_green_blue = [[[32768 + 64, 32768 - 128, 1], [32768 + 1, 0, 1], [40000, 40000, 0]]]
    path = write(tmp_path / "f.png", np.array(red_green_blue, np.uint16)[..., ::-1])
    values, valid = read_flow(path)
    assert values.tolist() == [[[1, -2], [1 / 64, -512], [0, 0]]]
    assert valid.tolist() == [[True, True, False]]


def test_objects_are_what_is_not_0(tmp_path):
    path = write(tmp_path / "o.png", np.array([[0, 1, 7]], np.uint8))
    assert read_foreground(path).tolist() == [[False, True, True]]


def test_other_files_are_refused_by_name(tmp_path):
    grey = write(tmp_path / "grey.png", np.zeros((2, 3), np.uint8))
    colour = write(tmp_path / "colour.png", np.zeros((2, 3, 3), np.uint16))
    for read, path, message in (
        (read_disparity, grey, r"grey\.png: a disparity map .* one of 1 of 8 bits"),
        (read_disparity, colour, r"colour\.png: a disparity map .* one of 3 of 16 bits"),
        (read_flow, grey, r"grey\.png: a flow map"),
        (read_foreground, colour, r"colour\.png: an object map"),
        (read_flow, tmp_path / "none.png", r"none\.png: cannot be read: No such file"),
    ):
        with pytest.raises(DataError, match=message):
            read(path)
    for content in (b"", b"no png", colour.read_bytes()[:-20]):
        colour.write_bytes(content)
        with pytest.raises(DataError, match=r"colour\.png: "):
            read_flow(colour)


def filled_in_loops(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """What the development kit's `interpolateBackground` does, pixel by pixel."""
    values, valid = values.copy(), valid.copy()
    height, width = valid.shape
    for row in range(height):
        gap = 0
        for column in range(width):
            if not valid[row, column]:
                gap += 1
                continue
            if 0 < gap < column:
                for hole in range(column - gap, column):
                    values[row, hole] = np.minimum(values[row, column - gap - 1], values[row, column])
                    valid[row, hole] = True
            gap = 0
        known = [column for column in range(width) if valid[row, column]]
        for column in range(width):
            if known and column < known[0]:
                values[row, column], valid[row, column] = values[row, known[0]], True
            if known and column > known[-1]:
                values[row, column], valid[row, column] = values[row, known[-1]], True
    for column in range(width):
        known = [row for row in range(height) if valid[row, column]]
        for row in range(height):
            if known and row < known[0]:
                values[row, column] = values[known[0], column]
            if known and row > known[-1]:
                values[row, column] = values[known[-1], column]
    return values


@settings(max_examples=100)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 2), st.floats(0, 1), st.integers(0, 2**31))
def test_missing_values_are_filled_as_the_loops_fill_them(height, width, channels, share, seed):
    rng = np.random.default_rng(seed)
    valid = rng.random((height, width)) < share
    values = np.where(valid[..., None], rng.integers(1, 9, (height, width, channels)), -1).astype(np.float32)
    before = values.copy()
    np.testing.assert_array_equal(filled(Map(values, valid)), filled_in_loops(values, valid))
    np.testing.assert_array_equal(values, before)


def test_the_lesser_neighbour_fills_and_rows_between_stay():
    none = -1
    values = np.array([[none, none, none], [5, none, 3], [none, none, none], [none, 4, none], [none] * 3], np.float32)
    expected = [[5, 3, 3], [5, 3, 3], [-1, -1, -1], [4, 4, 4], [4, 4, 4]]
    assert filled(Map(values[..., None], values > 0))[..., 0].tolist() == expected
