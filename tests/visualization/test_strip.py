import numpy as np
import pytest

from amodal_jax.visualization.strip import strip


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((40, 50), (66, 3 * 50 + 2 * 13)),  # side by side
        ((40, 100), (3 * 66 + 2 * 13, 100)),  # over each other
        ((400, 1440), (3 * 226 + 2 * 13, 720)),  # and smaller
    ],
)
def test_pictures_are_joined_along_their_shorter_side(size, expected):
    pictures = [np.full((*size, 3), value, np.uint8) for value in (10, 20, 30)]
    joined = strip(pictures, ["a", "b", "c"])
    assert joined.shape == (*expected, 3)
    axis = 0 if size[1] > 1.5 * size[0] else 1
    firsts = [int(np.argwhere((joined == value).all(-1))[:, axis].min()) for value in (10, 20, 30)]
    assert firsts == sorted(set(firsts))


def test_each_has_its_text():
    blank = [np.full((40, 50, 3), 255, np.uint8)] * 2
    joined = strip(blank, ["step 2", ""])
    assert np.any(joined[:26, :50] < 128)
    assert np.all(joined[:26, 50:] == 255)
