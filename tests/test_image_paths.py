"""Paths of images as files write them, and which image is meant."""

import pytest

from amodal_jax.image_paths import ImagePaths, ends, image_path


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("000001.png", "000001.png"),
        ("cam1/000001.png", "cam1/000001.png"),
        ("cam1\\000001.png", "cam1/000001.png"),
        ("./cam1//000001.png", "cam1/000001.png"),
        ("/data/cam1/000001.png", "data/cam1/000001.png"),
        ("D:\\data\\cam1\\000001.png", "data/cam1/000001.png"),
        ("../../cam1/000001.png", "cam1/000001.png"),
        ("x/../cam1/../000001.png", "000001.png"),
        ("..", ""),
    ],
)
def test_a_path_has_no_place_of_its_own(written, path):
    assert image_path(written) == path


def test_ends_become_shorter():
    assert list(ends("a/b/c.png")) == ["a/b/c.png", "b/c.png", "c.png"]


def test_the_longest_end_says_which_is_meant():
    paths = ImagePaths({1: "cam1/0.png", 2: "cam2/0.png", 3: "0.png", 4: "cam1/1.png", 5: "x/cam3/2.png"})
    assert paths.named("/data/set/cam2/0.png") == [2]
    assert paths.named("cam1\\0.png") == [1]
    assert paths.named("0.png") == [3]
    assert paths.named("elsewhere/0.png") == [3]
    assert paths.named("1.png") == paths.named("cam9/1.png") == [4]
    assert paths.named("cam3/2.png") == [5]
    assert paths.named("3.png") == []
    assert ImagePaths({1: "cam1/0.png", 2: "cam2/0.png"}).named("0.png") == [1, 2]
