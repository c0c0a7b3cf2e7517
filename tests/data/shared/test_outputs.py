"""Where the commands of scripts/dataset.py write, and where they do not."""

from pathlib import Path

import pytest

from amodal_jax.files.atomic import write_atomically
from data.shared.outputs import check_output_files, output_files, output_folder
from tests.helpers.full_disk import files_limited_to

DUMMY_DATA = Path(__file__).parents[3] / "data" / "kins" / "dummy_data"
FILE = DUMMY_DATA / "update_train_2020.json"

WRITES_FILES = [
    ("orders", FILE, "--out"),
    ("inmodal", FILE, "--out"),
    ("vote", FILE, FILE, "--out"),
    ("to-coco", FILE, "--masks", "amodal", "--out"),
    ("check", FILE, "--json"),
    ("check", FILE, "--fix"),
    ("statistics", FILE, "--json"),
]
WRITES_FOLDERS = [
    ("to-kitti-instances", FILE, "--out"),
    ("browse", FILE, "--out"),
    ("check", DUMMY_DATA, "--fix"),
    ("statistics", FILE, "--plots"),
    ("synthesise", "--images", 2, "--width", 64, "--height", 24, "--out"),
]


def _tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("words", WRITES_FILES, ids=lambda words: f"{words[0]} {words[-1]}")
def test_a_folder_is_never_replaced_by_a_file(words, force, dataset, tmp_path):
    folder = tmp_path / "annotations"
    folder.mkdir()
    for content in (None, b"of weeks of work"):
        if content:
            (folder / "drawn.json").write_bytes(content)
        before = _tree(tmp_path)
        code, _, error = dataset(*words, folder, *force, "--workers", 1)
        assert (code, error) == (1, f"error: {folder} is a folder: name a file\n")
        assert folder.is_dir()
        assert _tree(tmp_path) == before


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("words", WRITES_FOLDERS, ids=lambda words: f"{words[0]} {words[-1]}")
def test_a_file_is_never_replaced_by_a_folder(words, force, dataset, tmp_path):
    file = tmp_path / "drawn.json"
    file.write_bytes(b"of weeks of work")
    code, _, error = dataset(*words, file, *force, "--workers", 1)
    assert code == 1
    assert error.startswith(f"error: {file} ")
    assert error.count("\n") == 1
    assert _tree(tmp_path) == {file: b"of weeks of work"}


@pytest.mark.parametrize("words", WRITES_FILES + WRITES_FOLDERS, ids=lambda words: f"{words[0]} {words[-1]}")
def test_a_place_that_cannot_be_is_refused_before_any_work(words, dataset, tmp_path):
    file = tmp_path / "drawn.json"
    file.write_bytes(b"of weeks of work")
    code, printed, error = dataset(*words, file / "deeper" / "out", "--workers", 1)
    assert code == 1
    assert not printed
    assert error.endswith("a folder is needed where a file is; name another place\n")
    assert "image" not in error  # no progress either
    assert _tree(tmp_path) == {file: b"of weeks of work"}


@pytest.mark.parametrize("words", WRITES_FILES + WRITES_FOLDERS, ids=lambda words: f"{words[0]} {words[-1]}")
def test_of_a_full_disk_the_users_own_path_is_told_and_nothing_left(words, dataset, tmp_path):
    out = tmp_path / "out"
    with files_limited_to(150):
        code, _, error = dataset(*words, out, "--workers", 1)
    assert code == 1
    message = error.splitlines()[-1]
    assert "File too large" in message
    assert message.startswith(f"error: {tmp_path}/")
    if words[0] == "synthesise":  # which goes on there when there is room
        assert ".out.unfinished/" in message
    else:
        assert message.startswith((f"error: {out}:", f"error: {out}.changes.json:"))
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "second"), [(("orders", FILE), "--json"), (("vote", FILE, FILE), "--json"), (("check", FILE), "--fix")]
)
def test_two_outputs_have_two_places(words, second, dataset, tmp_path):
    first = "--json" if second == "--fix" else "--out"
    (tmp_path / "folder").mkdir()
    places = (tmp_path / "a.json", tmp_path / "folder" / ".." / "a.json")
    code, _, error = dataset(*words, first, places[0], second, places[1])
    assert code == 1
    assert "is named for two outputs" in error
    assert not _tree(tmp_path)


def test_the_list_of_changes_is_not_written_over(dataset, tmp_path):
    (tmp_path / "copy.changes.json").write_text("mine")
    code, _, error = dataset("check", FILE, "--fix", tmp_path / "copy.json")
    assert code == 1
    assert "copy.changes.json is there already" in error
    assert [path.name for path in tmp_path.iterdir()] == ["copy.changes.json"]


def test_of_several_files_all_are_written_or_none(tmp_path):
    small, large = tmp_path / "a" / "small", tmp_path / "b" / "large"
    check_output_files(small, None, large, force=False)

    def write(size):
        with output_files(small, large) as places:
            write_atomically(places[0], b"0")
            write_atomically(places[1], bytes(size))

    with files_limited_to(4096), pytest.raises(OSError, match="large") as error:
        write(10_000)
    assert error.value.filename == str(large)
    assert not _tree(tmp_path)
    write(1)
    assert _tree(tmp_path) == {small: b"0", large: bytes(1)}


def test_a_full_disk_is_told_by_the_folders_own_name(tmp_path):
    out = tmp_path / "out"

    def write():
        with output_folder(out, force=False) as folder:
            (folder / "large").write_bytes(bytes(10_000))

    with files_limited_to(4096), pytest.raises(OSError, match="out") as error:
        write()
    assert error.value.filename == str(out)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="elsewhere"), output_folder(out, force=False):
        (tmp_path / "elsewhere").read_bytes()
