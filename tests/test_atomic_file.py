import os

import pytest

from amodal_jax.atomic_file import make_folder, write_atomically
from tests.full_disk import files_limited_to


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
