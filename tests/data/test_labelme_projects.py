"""labelme as people use it: where files and images lie, which shapes there are, and what is told of what is wrong."""

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax import segmentation
from amodal_jax.errors import DataError
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from data.labelme.convert import convert
from data.labelme.shapes import _mask
from tests.data.labelme_project import CAR, HEIGHT, VAN, WIDTH, box, content, converted, shape
from tests.test_image_framing import with_orientation


def written(folder, split="train"):
    """The file names of the images in a dataset, and the images that are there."""
    content = json.loads((folder / ANNOTATION_FILES["2020"][split]).read_text())
    names = [image["file_name"] for image in content["images"]]
    return {name: cv2.imread(str(folder / IMAGE_FOLDERS[split] / name)) for name in names}


def test_folders_in_the_project_are_read_and_other_files_left(project, tmp_path, dataset):
    folder = project([CAR], [CAR])
    for number, name in ((1, "day2"), (2, "day2/morning")):
        (folder / name).mkdir()
        (folder / f"00000{number}.json").rename(folder / name / f"00000{number}.json")
        cv2.imwrite(str(folder / name / f"00000{number}.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (folder / "day2" / "._000001.json").write_bytes(b"\0\5\x16\7Mac OS X")
    (folder / ".trash").mkdir()
    (folder / ".trash" / "000001.json").write_text("{")
    (folder / "coco.json").write_text('{"images": []}')
    (folder / "results.JSON").write_text("[]")
    command = ["from-labelme", folder, "--out", folder / "out", "--same-images"]
    for again in ([], ["--force"]):  # what was written is no part of the project
        code, printed, error = dataset(*command, *again)
        assert code == 0, error
        assert "train: 2 images, 2 instances" in printed
        assert f"2 json files that are not labelme's were left out: {folder}/coco.json, {folder}/results." in printed
    code, printed, error = dataset("from-labelme", folder / ".trash" / "..", "--out", tmp_path / "2", "--same-images")
    assert code == 0, error
    assert "4 json files that are not labelme's" in printed


@pytest.mark.parametrize("listed", [False, True])
def test_shapes_that_are_to_be_ignored_are_left_out_and_counted(project, tmp_path, dataset, listed):
    ignored = [shape("__ignore__", [[1, 1]], kind="point"), shape("_background_", box(1, 1, 9, 9))]
    folder, labels = project([CAR, *ignored], [VAN, ignored[0]]), tmp_path / "labels.txt"
    labels.write_text("__ignore__\n_background_\n" * listed + "car\nvan\n")
    command = ["from-labelme", folder, "--out", tmp_path / "out", "--same-images", "--force"]
    for options in ([], ["--labels", labels]):
        code, printed, error = dataset(*command, *options)
        assert code == 0, error
        assert "2 classes: car, van" in printed
        assert "3 shapes labelled __ignore__ or _background_ were left out" in printed
        assert len(json.loads((tmp_path / "out" / ANNOTATION_FILES["2020"]["train"]).read_text())["annotations"]) == 2


def test_a_project_without_an_instance_says_why(project, tmp_path):
    folder = project([shape("__ignore__", box(1, 1, 9, 9))], [])
    with pytest.raises(DataError, match=r"2 images and no instance. .* \(1\):\s1 shapes labelled") as error:
        convert(folder, tmp_path / "out", test_fraction=None)
    assert "choose another" not in str(error.value)  # no fraction was given


def test_an_image_lies_where_people_have_moved_it(project, tmp_path):
    image = tmp_path / "images" / "000001.png"
    folder = project([CAR], imagePath=str(image))
    assert len(converted(folder)) == 1
    names = ("/home/me/street/000001.png", "C:\\Users\\me\\000001.png", "\\\\server\\share\\000001.png", "000001.png")
    for number, name in enumerate(names):
        folder = project([CAR], folder=f"moved{number}", imagePath=name)
        with pytest.raises(DataError, match=r"none of .*moved\d/000001.png, and the file has no imageD.* --images"):
            convert(folder, tmp_path / "none", test_fraction=None)
        convert(folder, tmp_path / f"named{number}", test_fraction=None, image_folders=[tmp_path / "images"])
        (folder / "000001.png").write_bytes(image.read_bytes())
        convert(folder, tmp_path / f"beside{number}", test_fraction=None)


def two_cameras(folder):
    """Two images of one name with a json file each, which name them by their folders."""
    for number, camera in enumerate(("cam1", "cam2"), start=1):
        (folder / camera).mkdir(parents=True)
        cv2.imwrite(str(folder / camera / "000001.png"), np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8))
        shapes = [shape("car", box(5 * number, 5, 5 * number + 9, 15))]
        (folder / f"{camera}_000001.json").write_text(json.dumps(content(shapes, f"{camera}\\000001.png")))
    return folder


def test_images_of_one_name_are_named_and_can_stay_in_their_folders(tmp_path, dataset):
    folder = two_cameras(tmp_path / "cameras")
    code, _, error = dataset("from-labelme", folder, "--out", tmp_path / "out", "--same-images")
    assert code == 1
    assert len(error.partition("error: ")[2].splitlines()) == 1
    for name in ("cam1_000001.json", "cam2_000001.json", "cam1/000001.png", "cam2/000001.png", "--keep-folders"):
        assert name in error
    code, _, error = dataset("from-labelme", folder, "--out", tmp_path / "out", "--same-images", "--keep-folders")
    assert code == 0, error
    images = written(tmp_path / "out")
    assert {name: image[0, 0, 0] for name, image in images.items()} == {"cam1/000001.png": 50, "cam2/000001.png": 100}
    left = [entry["a_bbox"][0] for entry in read_entries(tmp_path / "out")]
    assert left == [5, 10]


def read_entries(out):
    return json.loads((out / ANNOTATION_FILES["2020"]["train"]).read_text())["annotations"]


def test_moved_images_of_one_name_are_found_by_their_folders(tmp_path):
    folder = two_cameras(tmp_path / "cameras")
    (tmp_path / "moved").mkdir()
    for camera in ("cam1", "cam2"):
        (folder / camera).rename(tmp_path / "moved" / camera)
    options = {"test_fraction": None, "keep_folders": True}
    convert(folder, tmp_path / "out", image_folders=[tmp_path / "moved"], **options)
    assert {name: image[0, 0, 0] for name, image in written(tmp_path / "out").items()} == {
        "cam1/000001.png": 50,
        "cam2/000001.png": 100,
    }
    both = [tmp_path / "moved" / "cam1", tmp_path / "moved" / "cam2"]
    with pytest.raises(DataError, match=r"cam1_000001.json: its image 000001.png may be any of .*cam1/.*cam2/"):
        convert(folder, tmp_path / "out2", image_folders=both, **options)
    # Annotators who open each folder by itself write names alone, into folders that are called alike.
    for camera in ("cam1", "cam2"):
        (folder / camera).mkdir()
        path = folder / f"{camera}_000001.json"
        path.write_text(path.read_text().replace(f"{camera}\\\\", ""))
        path.rename(folder / camera / "000001.json")
    convert(folder, tmp_path / "out3", image_folders=[tmp_path / "moved"], **options)
    assert written(tmp_path / "out3").keys() == {"cam1/000001.png", "cam2/000001.png"}


def test_two_files_of_one_image_are_named(project, tmp_path):
    folder = project([CAR], [CAR])
    (folder / "000001 (1).json").write_text((folder / "000001.json").read_text())
    with pytest.raises(DataError, match=r"000001 \(1\).json and .*/000001.json are both of .*000001.png; leave one"):
        convert(folder, tmp_path / "out", test_fraction=None)


def test_images_that_become_one_name_are_named(project, tmp_path):
    folder = project([CAR], [CAR])
    path = folder / "000002.json"
    path.write_text(path.read_text().replace("000002.png", "000001.bmp"))
    cv2.imwrite(str(tmp_path / "images" / "000001.bmp"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(DataError, match="000001.png .* and .*000001.bmp .* would both be 000001.png .*; rename one"):
        convert(folder, tmp_path / "out", test_fraction=None)


def test_names_that_are_one_number_are_no_ids(project):
    folder = project([CAR], [VAN])
    for old, new in (("000001", "1"), ("000002", "01")):
        (folder.parent / "images" / f"{old}.png").rename(folder.parent / "images" / f"{new}.png")
        path = folder / f"{old}.json"
        path.write_text(path.read_text().replace(old, new))
    assert [entry["image_id"] for entry in converted(folder)] == [1, 2]


PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (5, 5), 0)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("name", ["../images/000001.png", "D:\\photos\\000001.jpeg", "000001.bmp", None, ""])
def test_an_image_may_be_in_the_json_file_alone(project, tmp_path, suffix, name):
    encoded = cv2.imencode(suffix, PICTURE)[1].tobytes()
    folder = project([CAR], imagePath=name, imageData=base64.encodebytes(encoded).decode())
    (tmp_path / "images" / "000001.png").unlink()
    convert(folder, tmp_path / "out", test_fraction=None)
    ((file_name, image),) = written(tmp_path / "out").items()
    assert file_name.startswith("000001.")
    assert file_name.endswith(".png") == (suffix == ".png")
    np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"text", "imageData is no image; put the image beside"),
        (cv2.imencode(".png", PICTURE)[1].tobytes()[:-30], "imageData: the PNG file is truncated"),
        (cv2.imencode(".bmp", PICTURE)[1].tobytes()[:-30], "imageData: the BMP file is truncated"),
        (cv2.imencode(".png", PICTURE[:5])[1].tobytes(), "it is another image"),
    ],
)
def test_a_damaged_image_in_the_json_file_is_named(project, tmp_path, data, words):
    folder = project([CAR], imageData=base64.b64encode(data).decode())
    (tmp_path / "images" / "000001.png").unlink()
    with pytest.raises(DataError, match=rf"000001.json.*{words}"):
        convert(folder, tmp_path / "out", test_fraction=None)
    folder = project([CAR], folder="other", imageData="no base64!", imagePath="x")
    with pytest.raises(DataError, match="000001.json: imageData is no image"):
        convert(folder, tmp_path / "out", test_fraction=None)


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".ppm", ".webp"])
def test_images_that_a_dataset_does_not_hold_become_png(project, tmp_path, suffix):
    folder = project([CAR], imagePath=f"../images/photo{suffix}")
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    cv2.imwrite(str(tmp_path / "images" / f"photo{suffix}"), PICTURE, options)
    summary = convert(folder, tmp_path / "out", test_fraction=None, link_images=True)
    assert summary.stored_anew == 1
    ((file_name, image),) = written(tmp_path / "out").items()
    assert file_name == "photo.png"
    np.testing.assert_array_equal(image, PICTURE)


def test_a_photo_that_is_stored_turned_becomes_the_upright_one_that_was_annotated(project, tmp_path):
    folder = project([CAR], imagePath="../images/photo.jpg")
    turned = np.ascontiguousarray(np.rot90(PICTURE, 1))
    stored = with_orientation(cv2.imencode(".jpg", turned)[1].tobytes(), 6)
    (tmp_path / "images" / "photo.jpg").write_bytes(stored)
    convert(folder, tmp_path / "out", test_fraction=None)
    ((file_name, image),) = written(tmp_path / "out").items()
    assert file_name == "photo.png"
    np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR))
    assert image.shape == (HEIGHT, WIDTH, 3)


@given(st.floats(8, 32), st.floats(8, 22), st.floats(0, 2 * np.pi), st.floats(2, 8))
def test_a_circle_is_its_area(x, y, angle, radius):
    border = [x + radius * np.cos(angle), y + radius * np.sin(angle)]
    rle, flaws = _mask(shape("ball", [[x, y], border], kind="circle"), "shape", HEIGHT, WIDTH)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(columns - x, rows - y)
    mask = segmentation.decode(rle)
    assert mask[distance < radius - 1].all()
    assert not mask[distance > radius + 1].any()
    assert flaws == ()


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "rectangle"])
def test_boxes_of_four_corners_are_polygons(project, kind):
    corners = [[20, 4], [30, 14], [20, 24], [10, 14]]
    turned, polygon = converted(project([shape("car", corners, "1", kind=kind), shape("car", corners, "2")]))
    assert turned["a_segm"] == polygon["a_segm"]


def test_all_that_is_wrong_is_told_in_one_run(project, tmp_path, dataset):
    bad = shape("car", [[1, 1], [2, 2]])
    foreign = shape("lorry", box(1, 1, 9, 9))
    folder = project([bad, CAR, foreign], [bad], [CAR, VAN | {"description": "2"}], [CAR], [CAR])
    (tmp_path / "images" / "000004.png").unlink()
    (folder / "000005.json").write_text("{")
    labels = tmp_path / "labels.txt"
    labels.write_text("car\nvan\n")
    code, _, error = dataset("from-labelme", folder, "--labels", labels, "--out", tmp_path / "out")
    assert code == 1
    assert len(error.partition("error: ")[2].splitlines()) == 1
    assert "nothing is written, for 6 things are wrong: (1) " in error
    for words in (
        "000001.json: shape 1 (car): nothing of it can be drawn",
        "000001.json: lorry (shape 3) is none of the classes car, van",
        "000002.json: shape 1 (car)",
        "000003.json: car (shape 1) and van (shape 2) overlap, and both have number 2",
        "000004.json: its image",
        "000005.json: is no complete json file",
    ):
        assert words in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_of_windows_are_read(project, tmp_path, dataset, encoding):
    folder = project([CAR, VAN])
    path, labels = folder / "000001.json", tmp_path / "labels.txt"
    path.write_bytes(path.read_text().replace("van", "Straßenbahn").encode(encoding))
    labels.write_bytes("car\r\nStraßenbahn\r\n".encode(encoding))
    command = ["from-labelme", folder, "--labels", labels, "--same-images", "--out"]
    code, printed, error = dataset(*command, tmp_path / "out")
    assert code == 0, error
    assert "2 classes: car, Straßenbahn" in printed
    labels.write_bytes("car\r\nStraßenbahn\r\n".encode("cp1252"))
    code, _, error = dataset(*command, tmp_path / "out2")
    assert code == 1
    assert "labels.txt: is not UTF-8 (byte 0xdf in line 2); save it as UTF-8" in error
