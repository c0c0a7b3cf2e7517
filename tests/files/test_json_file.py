import json
import math

import pytest

from amodal_jax.errors import DataError
from amodal_jax.files.json_file import read_json, shorten


def test_a_key_that_an_object_has_twice_is_named(tmp_path):
    path = tmp_path / "twice.json"
    path.write_text('{"images": [], "annotations": [{"id": 1}, {"id": 2, "area": 3, "id": 4}]}')
    with pytest.raises(DataError, match=r'twice\.json: an object has the key "id" twice'):
        read_json(path)


def test_numbers_that_are_no_json_are_left_to_the_reader_of_their_field(tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text('\ufeff{"a": NaN, "b": [-Infinity, 1e400], "c": 1' + "0" * 400 + "}")
    content = read_json(path)
    assert math.isnan(content["a"])
    assert content["b"] == [-math.inf, math.inf]
    assert content["c"] == 10**400


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1} x', b"\xff\xfe", b"[" * 200_000, b"1" * 5000])
def test_what_is_no_whole_json_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.json: is no complete json file"):
        read_json(path)


def test_what_cannot_be_opened_is_named(tmp_path):
    for path, words in (
        (tmp_path / "none.json", "there is no such file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ):
        with pytest.raises(DataError, match=words):
            read_json(path)


def test_values_are_short_in_messages():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert shorten(None) == "none"
    assert shorten({"a": 1, "b": 2}) == "an object with the keys a, b"
    assert shorten(list(range(1000))).endswith("...")
    assert len(shorten("x" * 1000)) == 60
    assert shorten(deep) == "a list nested too deeply"
    assert json.loads(shorten("\x1b")) == "\x1b"
    assert shorten("\x1b").isprintable()
