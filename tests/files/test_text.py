"""Which characters the bytes of a text file stand for, whatever reads it."""

import codecs
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.config import Config
from amodal_jax.config_json import to_json
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.files.json_file import read_json
from amodal_jax.files.text import read_text
from amodal_jax.runs.directory import CONFIG_FILE, read_config
from amodal_jax.runs.metrics_log import read_metrics_log

TEXT = "car, Straßenbahn, 行人\r\nzweite Zeile\n"
ENCODINGS = {
    "plain": TEXT.encode(),
    "UTF-8 with its mark": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16 of Windows": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16 of old Macs": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-16 without its mark": TEXT.encode("utf-16-le"),
    "the other one without its mark": TEXT.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "the other UTF-32": codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
}


@pytest.mark.parametrize("content", ENCODINGS.values(), ids=ENCODINGS)
def test_every_unicode_file_is_its_text(tmp_path, content):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    assert read_text(path) == TEXT


@given(
    st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"])),
    st.sampled_from(
        [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")]
    ),
)
def test_any_text_comes_back_whatever_its_mark(tmp_path_factory, text, form):
    mark, encoding = form
    path = tmp_path_factory.mktemp("text") / "any.txt"
    path.write_bytes(mark + text.encode(encoding))
    assert read_text(path) == text


@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        ("gbk", "轿车"),
        ("latin-1", "Straßenbahn"),
        ("cp1252", "Straßenbahn"),
        ("shift_jis", "自動車"),
        ("koi8-r", "машина"),
    ],
)
def test_another_encoding_is_named_and_is_no_damage(tmp_path, encoding, word):
    path = tmp_path / "labels.txt"
    path.write_bytes(f"car\r\n{word}\r\nvan\r\n".encode(encoding))
    with pytest.raises(DataError, match=r"labels\.txt: is not UTF-8 \(byte 0x.. in line 2\); save it as UTF-8$"):
        read_text(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Straß".encode()[:-1], "ends within a character, as what is cut off does; write or copy it again"),
        (codecs.BOM_UTF16_LE + "car".encode("utf-16-le")[:-1], "ends within a character"),
        (b"car\0\0\0\0\0", "is no text, for it has null characters"),
        (b"\0" * 20, "is no text, for it has null characters"),
    ],
)
def test_what_is_cut_off_or_no_text_is_named(tmp_path, content, words):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"labels\.txt: {words}"):
        read_text(path)


def test_what_cannot_be_opened_is_named(tmp_path):
    for path, words in ((tmp_path / "none.txt", "there is no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(DataError, match=words):
            read_text(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_and_configurations_are_read_in_each(tmp_path, encoding):
    path = tmp_path / CONFIG_FILE
    path.write_bytes(json.dumps({"name": "行人"}, ensure_ascii=False, indent=1).replace("\n", "\r\n").encode(encoding))
    assert read_json(path) == {"name": "行人"}
    path.write_bytes(to_json(Config()).encode(encoding))
    assert read_config(tmp_path) == Config()
    log = tmp_path / "metrics.jsonl"
    log.write_bytes('{"step": 1, "loss": 2.0}\r\n{"step": 2, "loss": 1.0}\r\n'.encode(encoding))
    assert read_metrics_log(log) == {"loss": {1: 2.0, 2: 1.0}}


def test_json_and_configurations_in_another_encoding_are_not_called_incomplete(tmp_path):
    path = tmp_path / CONFIG_FILE
    path.write_bytes('{"name": "轿车"}'.encode("gbk"))
    for read, argument, error in ((read_json, path, DataError), (read_config, tmp_path, ConfigError)):
        with pytest.raises(error, match=r"config\.json: is not UTF-8 .*; save it as UTF-8"):
            read(argument)


def test_whatever_people_write_is_read_by_one_function():
    """But the project's own templates, source and logs, the program beside an export, and benchmarks."""
    root = Path(__file__).parents[2]
    own = {
        "amodal_jax/cli/section_source.py",
        "amodal_jax/export_runner.py",
        "scripts/studies/jobs.py",
    }
    readers = {
        str(path.relative_to(root))
        for folder in ("amodal_jax", "configs", "data", "scripts")
        for path in (root / folder).rglob("*.py")
        if "benchmarks" not in path.parts
        and re.search(r"\.read_text\(|\bopen\(\)|\bopen\(\"rt?\"|json\.load\(", path.read_text(encoding="utf-8"))
    }
    assert readers == own
