"""Images in folders: each annotation's own picture in every tool, or an error that names both that it could be."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.errors import DataError
from data.image_lookup import find_paths, look_up
from data.kins import findings as kinds
from data.kins.annotations import check_images_exist, located, read_annotation_file
from data.kins.check import check_file
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from data.kins.records import RecordMaker
from data.kins.sources import Source
from data.kins.statistics import measure
from data.kins.voting import same_images

HEIGHT, WIDTH = 40, 60
NAMES = ("cam1/000001.png", "cam2/000001.png", "cam1/000002.png")


def content(*names):
    """An annotation file of the form of 2020: a square in each image, at a place that its number says."""
    annotations = []
    for index in range(len(names)):
        x = 2 + 4 * index
        polygon = [[x, 5, x + 10, 5, x + 10, 15, x, 15]]
        entry = {"id": index + 1, "image_id": index, "category_id": 4, "oco_id": 1, "ico_id": 0}
        for prefix in "ai":
            entry |= {f"{prefix}_segm": polygon, f"{prefix}_bbox": [x, 5, 10, 10], f"{prefix}_area": 100}
        annotations.append(entry)
    images = [{"id": index, "file_name": name, "width": WIDTH, "height": HEIGHT} for index, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 4, "name": "car"}]}


def pixels(number):
    return np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8)


def write_image(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels(number))


@pytest.fixture
def folder(tmp_path):
    """What a dataset is built from: the names of both splits as they are in `NAMES`."""
    for split in ANNOTATION_FILES["2020"]:
        (tmp_path / ANNOTATION_FILES["2020"][split]).write_text(json.dumps(content(*NAMES)))
        for number, name in enumerate(NAMES):
            write_image(tmp_path / IMAGE_FOLDERS[split] / name, number)
    return tmp_path


def rewrite(folder: Path, *names: str) -> Path:
    path = folder / ANNOTATION_FILES["2020"]["train"]
    path.write_text(json.dumps(content(*names)))
    return path


WRITTEN = {
    "as they are": NAMES,
    "with the folder that they lie in": tuple(f"training/image_2/{name}" for name in NAMES),
    "from a root": tuple(f"/home/me/data/{name}" for name in NAMES),
    "by another system": tuple(f"C:\\data\\{name}".replace("/", "\\") for name in NAMES),
    "from another folder": tuple(f"../../images/{name}" for name in NAMES),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_record_has_its_own_picture(folder, written):
    image_folder = folder / IMAGE_FOLDERS["train"]
    file = located(read_annotation_file(rewrite(folder, *WRITTEN[written])), image_folder)
    assert [image.file_name for image in file.images] == list(NAMES)
    check_images_exist(file, image_folder)
    for image in file.images:
        record, problems = RecordMaker("2020", {4: 0}, image_folder)(image)
        assert not problems
        assert record["image/filename"] == NAMES[image.id]


def test_a_dataset_of_images_in_folders_is_built(folder):
    import tensorflow_datasets as tfds

    from data.kins.kins_dataset_builder import Builder

    tfds.disable_progress_bar()
    builder = Builder(data_dir=folder / "datasets", strict=True)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
    for record in tfds.as_numpy(builder.as_dataset(split="train")):
        number = int(record["image/id"])
        assert record["image/filename"] == NAMES[number].encode()
        np.testing.assert_array_equal(record["image"], pixels(number))
        assert record["objects"]["id"].tolist() == [number + 1]


TWO_OF_ONE = {
    "the same name": ("0.png", "0.png"),
    "the same name otherwise written": ("a/0.png", ".\\a\\0.png"),
    "two folders of which neither is there": ("x/0.png", "y/0.png"),
    "a folder that is not there": ("0.png", "y/0.png"),
}


@pytest.mark.parametrize("names", TWO_OF_ONE)
@pytest.mark.parametrize("swapped", [False, True])
def test_two_entries_of_one_file_are_an_error_that_names_both(folder, names, swapped, dataset):
    entries = TWO_OF_ONE[names][:: -1 if swapped else 1]
    images = folder / IMAGE_FOLDERS["train"]
    write_image(images / "0.png", 9)
    write_image(images / "a" / "0.png", 8)
    path = rewrite(folder, *entries)
    with pytest.raises(DataError) as caught:
        located(read_annotation_file(path), images)
    for word in (str(path), "0", "1", *(entry.replace(".\\a\\", "a/") for entry in entries)):
        assert word in str(caught.value)
    report = check_file(Source("train", path, images))
    (finding,) = [finding for finding in report.findings if finding.kind == kinds.FILE_NAME_TWICE]
    assert finding.ids == (0, 1)
    assert finding.severity == "error"
    code, printed, error = dataset("browse", path, "--images", images, "--out", folder / "page", "--workers", 1)
    assert (code, printed) == (1, "")
    assert str(path) in error
    assert not (folder / "page").exists()


def test_three_entries_of_one_file_are_all_named(folder):
    images = folder / IMAGE_FOLDERS["train"]
    write_image(images / "0.png", 9)
    report = check_file(Source("train", rewrite(folder, "x/0.png", "y/0.png", "z/0.png"), images))
    named = {one for finding in report.findings if finding.kind == kinds.FILE_NAME_TWICE for one in finding.ids}
    assert named == {0, 1, 2}


def test_a_missing_image_is_no_others(folder):
    images = folder / IMAGE_FOLDERS["train"]
    (images / NAMES[1]).unlink()
    file = located(read_annotation_file(folder / ANNOTATION_FILES["2020"]["train"]), images)
    with pytest.raises(DataError, match=r"1 of the 3 images .* are missing, the first of them .*cam2/000001\.png"):
        check_images_exist(file, images)
    report = check_file(Source("train", file.path, images))
    missing = [finding.ids for finding in report.findings if finding.kind == kinds.IMAGE_MISSING]
    assert missing == [(1,)]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b"]), max_size=2).map(lambda folders: "/".join([*folders, "0.png"])),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.sets(st.sampled_from(["0.png", "a/0.png", "b/0.png", "a/a/0.png", "a/b/0.png"])),
)
def test_no_file_is_that_of_two_and_what_is_there_as_written_is_found(names, there):
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for path in there:
            (Path(place) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / path).touch()
        paths = dict(enumerate(names))
        found = look_up(paths, Path(place))
        assert len(set(found.paths.values())) == len(found.paths)
        assert not found.paths.keys() & found.shared.keys()
        for identifier, path in paths.items():
            assert found.paths.get(identifier, "0.png").endswith("0.png")
            if path in there:
                assert found.paths[identifier] == path
        if found.shared:
            with pytest.raises(DataError, match="have one file"):
                find_paths(paths, Path(place), "a.json")
        else:
            assert find_paths(paths, Path(place), "a.json") == found.paths


def test_what_is_written_of_them_keeps_their_folders(folder, dataset, tmp_path):
    path = folder / ANNOTATION_FILES["2020"]["train"]
    for words in (("to-coco", "--masks", "amodal"), ("orders",), ("inmodal",), ("vote", path)):
        out = tmp_path / f"{words[0]}.json"
        assert dataset(*words, path, "--out", out, "--workers", 1)[0] == 0
        assert [image["file_name"] for image in json.loads(out.read_text())["images"]] == list(NAMES)


def test_maps_of_images_of_one_name_lie_in_their_folders(folder, dataset):
    path = folder / ANNOTATION_FILES["2020"]["train"]
    assert dataset("to-kitti-instances", path, "--out", folder / "maps", "--workers", 1)[0] == 0
    for number, name in enumerate(NAMES):
        drawn = cv2.imread(str(folder / "maps" / name), cv2.IMREAD_UNCHANGED)
        assert np.flatnonzero(drawn.any(axis=0))[0] == 2 + 4 * number
    # Where the names alone say which is which, folders say nothing.
    path = rewrite(folder, "a/1.png", "b/2.jpg")
    assert dataset("to-kitti-instances", path, "--out", folder / "flat", "--workers", 1)[0] == 0
    assert sorted(one.name for one in (folder / "flat").iterdir()) == ["1.png", "2.png"]
    path = rewrite(folder, "a/1.png", "a/1.jpg")
    code, _, error = dataset("to-kitti-instances", path, "--out", folder / "none", "--workers", 1)
    assert code == 1
    assert "the images 0 (a/1.png) and 1 (a/1.jpg) would have the same map, a/1.png" in error


def test_d2sa_s_images_keep_their_folders(folder, dataset):
    source = content(*NAMES)
    for entry in source["annotations"]:
        entry |= {"segmentation": entry.pop("a_segm"), "visible_mask": entry.pop("i_segm"), "bbox": entry.pop("a_bbox")}
    path, images, out = folder / "d2sa.json", folder / IMAGE_FOLDERS["train"], folder / "out"
    path.write_text(json.dumps(source))
    assert dataset("from-d2sa", path, "--images", images, "--out", out, "--same-images", "--workers", 1)[0] == 0
    for split, (number, name) in itertools.product(IMAGE_FOLDERS, enumerate(NAMES)):
        assert (out / IMAGE_FOLDERS[split] / name).read_bytes() == (images / name).read_bytes()
        listed = json.loads((out / ANNOTATION_FILES["2020"][split]).read_text())["images"]
        assert listed[number]["file_name"] == name
    (images / "cam1" / "000001.png").rename(images / "000001.png")
    (images / "cam2" / "000001.png").unlink()
    code, _, error = dataset("from-d2sa", path, "--images", images, "--out", folder / "none", "--workers", 1)
    assert code == 1
    assert "the images 0 (cam1/000001.png) and 1 (cam2/000001.png) have one file" in error
    assert not (folder / "none").exists()


def test_kitti_s_labels_are_those_of_the_image(folder, tmp_path):
    labels = tmp_path / "label_2"
    for number, name in enumerate(NAMES):
        path = (labels / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        x = 2 + 4 * number
        path.write_text(f"Car 0.0 0 0.0 {x}.0 5.0 {x + 10}.0 15.0 1.5 1.6 4.0 0.0 1.5 20.0 0.0\n")
    file = read_annotation_file(folder / ANNOTATION_FILES["2020"]["train"])
    measured = measure(file, kitti_labels=labels)
    assert [image.kitti.ious for image in measured] == [(1.0,)] * 3
    (labels / "cam1" / "000001.txt").rename(labels / "000001.txt")
    (labels / "cam2" / "000001.txt").unlink()
    with pytest.raises(DataError, match=r"have one file, .*000001\.txt"):
        measure(file, kitti_labels=labels)


def test_annotators_may_write_other_folders_before_the_same_names(folder, tmp_path):
    def files(*of_each):
        paths = [tmp_path / f"{index}.json" for index in range(len(of_each))]
        for path, names in zip(paths, of_each, strict=True):
            path.write_text(json.dumps(content(*names)))
        return [read_annotation_file(path) for path in paths]

    def names(records):
        return [tuple(image.file_name for image in of_one) for of_one in records]

    assert names(same_images(files(NAMES, NAMES[::-1]))) == [(name, name) for name in NAMES]
    assert names(same_images(files(("a/1.png", "a/2.png"), ("2.png", "1.png")))) == [
        ("a/1.png", "1.png"),
        ("a/2.png", "2.png"),
    ]
    with pytest.raises(DataError, match=r"the images 0 \(cam1/000001.png\) and 1 \(cam2/000001.png\) have one name"):
        same_images(files(NAMES, [f"x/{name}" for name in NAMES]))


def test_check_of_a_folder_says_it_and_fails(folder, dataset):
    write_image(folder / IMAGE_FOLDERS["train"] / "0.png", 9)
    rewrite(folder, "x/0.png", "y/0.png")
    code, printed, _ = dataset("check", folder, "--workers", 1)
    assert code == 1
    assert "error: 1 x file of two images" in printed
