import os

import pytest

from amodal_jax.atomic_file import make_folder, replacing, write_atomically
from tests.full_disk import files_limited_to


def make_file(place, text):
    place.write_text(text)


def make_full_folder(place, text):
    place.mkdir()
    (place / "file").write_text(text)


def content(place):
    return (place / "file" if place.is_dir() else place).read_text()


@pytest.mark.parametrize("make", [make_file, make_full_folder])
def test_what_is_made_takes_the_place_of_what_was_there(tmp_path, make):
    place = tmp_path / "there"
    for text in ("first", "second"):
        with replacing(place) as new:
            make(new, text)
            assert content(place) == "first" if text == "second" else not place.exists()
        assert content(place) == text
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    folder, link = tmp_path / "folder", tmp_path / "link"
    make_full_folder(folder, "kept")
    link.symlink_to(folder)
    with replacing(link) as new:
        make_file(new, "new")
    assert not link.is_symlink()
    assert content(link) == "new"
    assert content(folder) == "kept"


@pytest.mark.parametrize("make", [make_file, make_full_folder])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_while_making_leaves_what_was_there(tmp_path, make, failure):
    place = tmp_path / "there"
    make(place, "first")

    def fail():
        with replacing(place) as new:
            make(new, "second")
            raise failure

    with pytest.raises(failure):
        fail()
    assert content(place) == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("make", [make_file, make_full_folder])
def test_what_cannot_take_the_place_leaves_what_was_there(tmp_path, make):
    make(tmp_path / "there", "first")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "there"):
        pass  # nothing is made
    assert content(tmp_path / "there") == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_file_has_the_permissions_of_any_other(tmp_path):
    write_atomically(tmp_path / "new", b"content")
    (tmp_path / "other").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert (tmp_path / "new").read_bytes() == b"content"


def test_a_file_is_replaced(tmp_path):
    for content in (b"first", "second"):
        write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_names_the_file_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "before")
    with files_limited_to(1000), pytest.raises(OSError, match="File too large") as error:
        write_atomically(path, bytes(5000))
    assert error.value.filename == str(path)
    assert path.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError) as error:
        write_atomically(tmp_path / "absent" / "file", "x")
    assert error.value.filename == str(tmp_path / "absent" / "file")


def test_a_folder_is_made_or_refused_by_name(tmp_path):
    make_folder(tmp_path / "one" / "two")
    make_folder(tmp_path / "one" / "two")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="File exists|Not a directory") as error:
            make_folder(path)
        assert error.value.filename == str(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError) as error:
        make_folder(tmp_path / "locked")
    assert error.value.filename == str(tmp_path / "locked")
