from amodal_jax.visible_files import visible_files


def test_the_files_that_people_have_put_there(tmp_path):
    for name in (
        "b.json",
        "a.JSON",
        "._b.json",
        ".hidden/c.json",
        "day2/d.json",
        "day2/._d.json",
        "a.txt",
        "x.json/e.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert visible_files(tmp_path, (".json",)) == [tmp_path / "a.JSON", tmp_path / "b.json"]
    assert visible_files(tmp_path, {".json"}, in_folders=True) == [
        tmp_path / "a.JSON",
        tmp_path / "b.json",
        tmp_path / "day2" / "d.json",
    ]
    assert visible_files(tmp_path / "b.json", (".json",)) == visible_files(tmp_path / "absent", (".json",)) == []
    assert visible_files(tmp_path / ".hidden", (".json",)) == [tmp_path / ".hidden" / "c.json"]
