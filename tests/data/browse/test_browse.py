"""The page of `browse`, looked at with a browser where there is one."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from data.browse import page as browse
from data.browse.thumbnails import svg_path
from data.kins.annotations import read_annotation_file
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from data.kins.sources import find_sources
from tests.helpers.browser import Browser

DUMMY_DATA = Path(__file__).parents[3] / "data" / "kins" / "dummy_data"
HEIGHT, WIDTH = 40, 60


def write(path, out, **arguments):
    files = [(source, read_annotation_file(source.path)) for source in find_sources(path)]
    return browse.write_page(out, "a <b> title", files, **arguments)


def read_index(out):
    return json.loads((out / "index.js").read_text().removeprefix("const dataset = ").rstrip().removesuffix(";"))


def polygons_of(path):
    """The corners of every outline of a path of relative lines."""
    polygons = []
    for x, y, steps in re.findall(r"M(-?\d+) (-?\d+)l([-\d ]+)z", path):
        moves = np.array(steps.split(), int).reshape(-1, 2)
        polygons.append(np.cumsum(np.vstack([[int(x), int(y)], moves]), axis=0))
    return polygons


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(3, 30), st.integers(3, 20)), max_size=4))
def test_a_path_is_the_outline_of_its_mask(boxes):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for index, (x, y, width, height) in enumerate(boxes):
        mask[y : y + height, x : x + width] = index != 1  # the second cuts something away
    path = svg_path(segmentation.encode(mask))
    assert bool(path) == mask.any()
    drawn = np.zeros((HEIGHT * 4, WIDTH * 4), np.uint8)
    polygons = polygons_of(path)
    if polygons:
        cv2.fillPoly(drawn, [points * 4 for points in polygons], 1)
    # The centres of pixels; those at an edge may be missed by the path's tolerance.
    found = drawn[2::4, 2::4].astype(bool)
    kernel = np.ones((5, 5), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
    outer = cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)
    assert not (inner & ~found).any()
    assert not (found & ~outer).any()


def test_the_folder_has_thumbnails_masks_and_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(browse, "IMAGES_PER_CHUNK", 2)
    written = write(DUMMY_DATA, tmp_path / "page", longest_side=64)
    assert (written.images, written.instances, written.without_picture) == (5, 15, 0)
    index = read_index(tmp_path / "page")
    assert index["splits"] == ["train", "test"]
    assert [image[1] for image in index["images"]] == [0, 0, 0, 1, 1]
    assert sorted(path.name for path in (tmp_path / "page" / "masks").iterdir()) == ["0.js", "1.js", "2.js"]
    thumbnails = sorted((tmp_path / "page" / "thumbnails").iterdir())
    assert len(thumbnails) == 5
    assert cv2.imread(str(thumbnails[0])).shape == (32, 64, 3)
    # Each image has two objects of which nothing is hidden, and one of which a part is.
    assert all(sorted(image[6][1::2])[-1] > 0 for image in index["images"])


def test_images_that_cannot_be_read_are_shown_without_a_picture(tmp_path):
    folder = Path(shutil.copytree(DUMMY_DATA, tmp_path / "data"))
    (folder / IMAGE_FOLDERS["train"] / "000000.png").unlink()
    (folder / IMAGE_FOLDERS["train"] / "000001.png").write_bytes(b"none")
    assert write(folder, tmp_path / "page").without_picture == 2
    assert write(folder / ANNOTATION_FILES["2019"]["train"], tmp_path / "other").without_picture == 3


def test_only_a_page_of_its_own_is_replaced(tmp_path):
    out = tmp_path / "page"
    write(DUMMY_DATA, out)
    write(DUMMY_DATA, out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        write(DUMMY_DATA, out)
    assert (out / "notes.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("browse") / "page"
    write(DUMMY_DATA, out)
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(out / "index.html")
        wait_for(browser, "document.querySelectorAll('.card path.amodal').length === 15")
        yield browser


def wait_for(browser, condition):
    for _ in range(200):
        if browser.evaluate(condition):
            return
    raise AssertionError(f"the page never had: {condition}")


def test_the_page_shows_every_image_with_its_masks(page):
    assert page.evaluate("document.querySelector('h1').textContent") == "a <b> title"
    assert page.evaluate("document.querySelectorAll('.card').length") == 5
    assert page.evaluate("document.querySelectorAll('.card path.hidden').length") == 5
    loaded = page.evaluate(
        "Promise.all([...document.querySelectorAll('.card image')].map(image => { const picture = new Image();"
        "picture.src = image.href.baseVal; return picture.decode().then(() => picture.naturalWidth); }))"
    )
    assert loaded == [96] * 5
    assert all(address.startswith(("file:", "data:")) for address in page.requests)
    assert not page.messages


def test_layers_can_be_hidden(page):
    style = "getComputedStyle(document.querySelector('.card path.hidden')).display"
    assert page.evaluate(style) != "none"
    page.evaluate("document.querySelector('#layers input[value=hidden]').click()")
    assert page.evaluate(style) == "none"
    page.evaluate("document.querySelector('#layers input[value=hidden]').click()")


def test_filters_choose_images_that_have_such_an_object(page):
    content = json.loads((DUMMY_DATA / ANNOTATION_FILES["2020"]["train"]).read_text())
    content_test = json.loads((DUMMY_DATA / ANNOTATION_FILES["2020"]["test"]).read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    expected = {
        (part, entry["image_id"])
        for part, entries in (("train", content["annotations"]), ("test", content_test["annotations"]))
        for entry in entries
        if names[entry["category_id"]] == "cyclist"
    }
    assert 0 < len(expected) < 5
    button = "[...document.querySelectorAll('#classes button')].find(one => one.textContent.startsWith('cyclist'))"
    page.evaluate(f"{button}.click()")
    assert page.evaluate("document.querySelectorAll('.card').length") == len(expected)
    page.evaluate(f"{button}.click()")
    choose = (
        "(document.getElementById('occlusion').value = '{}', "
        "document.getElementById('occlusion').dispatchEvent(new Event('input')))"
    )
    page.evaluate(choose.format("76 100"))
    assert page.evaluate("document.getElementById('nothing').hidden") is False
    page.evaluate(choose.format("0 100"))
    assert page.evaluate("document.querySelectorAll('.card').length") == 5


def test_a_click_opens_an_image_with_the_list_of_its_objects(page):
    page.evaluate("document.querySelector('.card').dispatchEvent(new MouseEvent('click'))")
    wait_for(page, "document.querySelectorAll('#objects li').length === 3")
    assert "order" in page.evaluate("document.getElementById('objects').textContent")
    assert page.evaluate("document.getElementById('large').open")
    page.evaluate("document.getElementById('close').click()")
