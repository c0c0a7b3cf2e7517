import contextlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax import segmentation
from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from data.kins.annotations import KEYS, check_images_exist, find_annotation_files, read_annotation_file
from data.kins.instances import read_instance
from data.kins.layout import IMAGE_FOLDERS
from data.kitti3d.convert import convert, read_frame
from data.kitti3d.labels import Object3d, read_labels, read_projection
from data.kitti3d.projection import project_template
from data.kitti3d.templates import template

WIDTH, HEIGHT = 310, 94
CALIBRATION = (
    "P0: 180 0 152 0 0 180 43 0 0 0 1 0\nP2: 180 0 152 11 0 180 43 0.05 0 0 1 0.003\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
)
# type, truncation, occlusion, alpha, 2D box, height width length, x y z, rotation_y
CAR = "Car 0.00 0 -1.57 140 40 165 60 1.5 1.7 4.0 0.0 1.65 12.0 -1.57"
VAN_BEHIND = "Van 0.00 2 -1.57 145 35 170 55 2.2 1.9 5.0 0.9 1.65 22.0 -1.57"
APART = "Pedestrian 0.00 0 0.0 240 40 250 62 1.8 0.6 0.8 5.0 1.65 10.0 0.1"
BESIDE = "Truck 0.90 0 0.0 0 40 5 62 3.0 2.5 8.0 -40.0 1.65 6.0 0.1"
DONT_CARE = "DontCare -1 -1 -10 10 10 20 20 -1 -1 -1 -1000 -1000 -1000 -10"


def _write_kitti(folder, label_files):
    for name in ("label_2", "calib", "image_2"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, lines in enumerate(label_files):
        (folder / "label_2" / f"{number:06d}.txt").write_text("".join(f"{line}\n" for line in lines))
        (folder / "calib" / f"{number:06d}.txt").write_text(CALIBRATION)
        image = np.full((HEIGHT, WIDTH, 3), 7 * number, np.uint8)
        cv2.imwrite(str(folder / "image_2" / f"{number:06d}.png"), image)
    return folder


def _box(type_="Car", x=0.0, z=12.0, rotation_y=-np.pi / 2, height=1.5, width=1.7, length=4.0):
    return Object3d(type_, 0.0, 0, (0.0, 0.0, 1.0, 1.0), height, width, length, (x, 1.65, z), rotation_y)


def _projection():
    return np.array([[180.0, 0, 152, 0], [0, 180, 43, 0], [0, 0, 1, 0]])


def _mask(box, projection=None):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    drawn = project_template(box, _projection() if projection is None else projection, WIDTH, HEIGHT)
    if drawn is not None:
        mask[drawn.window()] = drawn.mask
    return mask


@pytest.mark.parametrize("name", KINS_CLASS_NAMES)
def test_a_template_fills_its_box(name):
    points = np.concatenate(template(name))
    np.testing.assert_allclose(points.min(axis=0), [-0.5, -0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(points.max(axis=0), [0.5, 0.5, 1.0], atol=1e-12)


@given(
    type_=st.sampled_from(["Car", "Van", "Truck", "Pedestrian", "Cyclist", "Tram", "Misc"]),
    x=st.floats(-8, 8),
    z=st.floats(6, 40),
    rotation=st.floats(-np.pi, np.pi),
)
@settings(max_examples=60)
def test_a_mask_lies_in_its_projected_box(type_, x, z, rotation):
    box = _box(type_, x, z, rotation)
    forward, right = np.array([np.cos(rotation), -np.sin(rotation)]), np.array([-np.sin(rotation), -np.cos(rotation)])
    corners = np.array(
        [
            [x + a * forward[0] + b * right[0], y, z + a * forward[1] + b * right[1], 1.0]
            for a in (-2.0, 2.0)
            for b in (-0.85, 0.85)
            for y in (0.15, 1.65)
        ]
    )
    pixels = corners @ _projection().T
    pixels = pixels[:, :2] / pixels[:, 2:] + 0.5
    rows, columns = np.nonzero(_mask(box))
    if len(rows):
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        slack = 1.1  # OpenCV fills the pixels along an outline, at coordinates that it rounds
        assert columns.min() >= low[0] - slack
        assert columns.max() + 1 <= high[0] + slack
        assert rows.min() >= low[1] - slack
        assert rows.max() + 1 <= high[1] + slack


def test_a_car_heads_where_rotation_y_says():
    # Seen from its side: rotation 0 heads to the right, where the hood is lower than the rear.
    def right_half_is_lower(rotation):
        mask = _mask(_box(rotation_y=rotation, z=8.0))
        left, _, right, _ = segmentation.bounding_box(segmentation.encode(mask))
        third = round((right - left) / 4)
        return mask[:, int(right) - third : int(right)].sum() < mask[:, int(left) : int(left) + third].sum()

    assert right_half_is_lower(0.0)
    assert not right_half_is_lower(np.pi)
    sideways, ahead = (np.any(_mask(_box(rotation_y=r)), axis=0).sum() for r in (0.0, -np.pi / 2))
    assert sideways > 1.5 * ahead


@given(z=st.floats(-3.5, 3.5), x=st.floats(3, 5))
@settings(max_examples=40)
def test_of_what_reaches_behind_the_camera_the_part_before_it_is_drawn(z, x):
    # A truck beside the camera, from 4 m behind its middle to 4 m before it: seen up to the image's right border.
    mask = _mask(_box("Truck", x, z, height=3.0, width=2.5, length=8.0))
    front_column = 152 + 180 * (x - 1.25) / (z + 4.0)
    assert mask.any() == (front_column < WIDTH - 0.5) or abs(front_column - WIDTH) < 2
    if mask.any():
        assert mask[:, -1].any()
        assert np.nonzero(mask)[1].min() >= front_column - 25


@given(z=st.floats(-60, -4.6), rotation=st.floats(-np.pi, np.pi))
def test_nothing_of_what_stands_behind_the_camera_is_drawn(z, rotation):
    assert not _mask(_box("Truck", 0.0, z, rotation, height=3.0, width=2.5, length=8.0)).any()


def test_what_is_cut_off_by_the_image_is_cut_off_in_the_mask():
    projection = _projection()
    whole = _mask(_box(), projection)
    shifted = projection.copy()
    shifted[0, 2] -= 150.0
    part = _mask(_box(), shifted)
    np.testing.assert_array_equal(part[:, : WIDTH - 150], whole[:, 150:])
    assert 0 < part.sum() < whole.sum()


def test_pseudo_labels_of_a_frame(tmp_path):
    folder = _write_kitti(tmp_path, [[VAN_BEHIND, DONT_CARE, CAR, APART, BESIDE]])
    frame = read_frame(folder / "label_2" / "000000.txt")
    assert frame.outside == 1
    by_class = {instance.class_name: instance for instance in frame.instances}
    assert set(by_class) == {"car", "van", "pedestrian"}
    car, van, pedestrian = (by_class[name] for name in ("car", "van", "pedestrian"))
    assert (car.occlusion_order, van.occlusion_order, pedestrian.occlusion_order) == (1, 2, 0)
    assert car.cluster_id == van.cluster_id != pedestrian.cluster_id
    assert car.inmodal == car.amodal
    hidden = segmentation.decode(van.amodal) & ~segmentation.decode(van.inmodal)
    np.testing.assert_array_equal(hidden, segmentation.decode(van.amodal) & segmentation.decode(car.amodal))
    assert hidden.any()


def test_depth_order_is_by_which_hides_which(tmp_path):
    # The tram's middle is farther than the car's, and yet it stands between the car and the camera.
    tram = "Tram 0 0 0 0 0 1 1 3.0 2.5 30.0 -3.0 1.65 20.0 -1.5708"
    car = "Car 0 2 0 0 0 1 1 1.5 1.7 4.0 -6.5 1.65 16.0 -1.5708"
    folder = _write_kitti(tmp_path, [[car, tram]])
    frame = read_frame(folder / "label_2" / "000000.txt")
    assert [instance.class_name for instance in frame.instances] == ["tram", "car"]
    assert [instance.occlusion_order for instance in frame.instances] == [1, 2]


def test_converted_frames_are_a_data_set(tmp_path):
    kitti = _write_kitti(tmp_path / "kitti" / "training", [[CAR, VAN_BEHIND]] * 4 + [[APART], []])
    out = tmp_path / "out"
    summary = convert(kitti.parent, out, test_fraction=0.34, progress=False)
    assert summary.images == {"train": 4, "test": 2}
    for split, path in find_annotation_files(out).items():
        assert json.loads(path.read_text())["info"]["pseudo_labels"] is True
        file = read_annotation_file(path)
        check_images_exist(file, out / IMAGE_FOLDERS[split])
        assert len(file.images) == summary.images[split]
        for image in file.images:
            for annotation in image.annotations:
                assert read_instance(annotation, KEYS["2020"], image.height, image.width)[1] == []
    with pytest.raises(DataError, match="--force"):
        convert(kitti.parent, out, test_fraction=0.34, progress=False)
    convert(kitti.parent, out, test_fraction=0.34, force=True, link_images=True, progress=False)
    assert all(path.is_symlink() for path in (out / IMAGE_FOLDERS["train"]).iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kitti", "out"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Car 0.00 0 -1.57 1 1 2 2 1.5 1.7 4.0 0.0 1.65 12.0", "14 fields"),
        (CAR.replace("Car", "Bus"), "type 'Bus'"),
        (CAR.replace("12.0", "nan"), "'nan' where a finite"),
        (CAR.replace("12.0", "twelve"), "'twelve' where a number"),
        (CAR.replace("12.0", "1e300"), "farther away"),
        (CAR.replace(" 1.5 ", " -1.5 "), "3D box of -1.5"),
        (CAR.replace(" 0 -1.57", " 4 -1.57"), "occlusion level 4"),
        (CAR.replace("0.00", "1.5"), "truncation of 1.5"),
        (CAR.replace("165 60", "120 60"), "ends before it begins"),
    ],
)
def test_a_damaged_label_is_named_by_file_and_line(tmp_path, line, message):
    path = tmp_path / "000003.txt"
    path.write_text(f"{DONT_CARE}\n{CAR}\n{line}\n")
    with pytest.raises(DataError, match=f"000003.txt: line 3.*{message}"):
        read_labels(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P0: 1 0 0 0 0 1 0 0 0 0 1 0\n", "no line P2"),
        ("P0: 1\nP2: 1 2 3\n", "line 2 has 3 numbers"),
        ("P2: 0 0 0 0 0 0 0 0 0 0 0 0\n", "line 1 holds no camera matrix"),
        ("P2: 1 0 0 0 0 1 0 0 0 0 inf 0\n", "line 1 has 'inf'"),
    ],
)
def test_a_damaged_calibration_is_named_by_file_and_line(tmp_path, text, message):
    path = tmp_path / "000003.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=f"000003.txt.*{message}"):
        read_projection(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_files_of_windows_are_read(tmp_path, encoding):
    folder = _write_kitti(tmp_path / "kitti", [[APART, CAR, VAN_BEHIND, DONT_CARE]])
    expected = read_frame(folder / "label_2" / "000000.txt")
    for name in ("label_2", "calib"):
        path = folder / name / "000000.txt"
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert read_frame(folder / "label_2" / "000000.txt") == expected
    (folder / "label_2" / "000000.txt").write_bytes(f"{CAR}\n# Straße\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"000000.txt: is not UTF-8 \(byte 0xdf in line 2\); save it as UTF-8"):
        read_frame(folder / "label_2" / "000000.txt")


def test_all_damaged_lines_of_all_files_are_told_in_one_run(tmp_path, dataset):
    folder = _write_kitti(
        tmp_path, [[CAR, CAR.replace("Car", "Bus")], [CAR], [CAR[:30], CAR, CAR.replace("12.0", "x")]]
    )
    (folder / "calib" / "000001.txt").unlink()
    (folder / "label_2" / "._000000.txt").write_bytes(b"\0\5\x16\7")
    code, _, error = dataset("from-kitti3d", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "4 things are wrong" in error
    for words in (
        "000000.txt: line 2 is of the type",
        "calib/000001.txt: there",
        "000002.txt: line 1 ",
        "000002.txt: line 3 ",
    ):
        assert words in error


def test_objects_outside_their_images_are_why_a_dataset_is_empty(tmp_path):
    folder = _write_kitti(tmp_path, [[BESIDE], [BESIDE, DONT_CARE]])
    with pytest.raises(DataError, match=r"no instance. .* \(1\):\s2 objects that lie outside") as error:
        convert(folder, tmp_path / "out", test_fraction=None, progress=False)
    assert "choose another" not in str(error.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="holds neither"):
        convert(tmp_path, tmp_path / "out", test_fraction=0.5, progress=False)
    folder = _write_kitti(tmp_path, [[CAR]])
    for name in ("image_2/000000.png", "calib/000000.txt"):
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name}"):
            read_frame(folder / "label_2" / "000000.txt")


_DAMAGE = st.one_of(
    st.binary(max_size=12), st.sampled_from([b"nan", b"1e400", b"-1e9", b" ", b"\n", b"\xff", b"Car", b"9" * 400])
)


@given(data=st.data())
@settings(max_examples=150)
def test_damaged_files_end_in_the_projects_own_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    for name, text in (("label_2", f"{CAR}\n{VAN_BEHIND}\n{DONT_CARE}\n"), ("calib", CALIBRATION)):
        content = text.encode()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + 20, len(content))))
        (folder / name).mkdir()
        (folder / name / "000000.txt").write_bytes(content[:start] + data.draw(_DAMAGE) + content[end:])
    (folder / "image_2").mkdir()
    cv2.imwrite(str(folder / "image_2" / "000000.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with contextlib.suppress(DataError):
        frame = read_frame(folder / "label_2" / "000000.txt")
        assert all(segmentation.area(instance.amodal) for instance in frame.instances)


def test_boxes_agree_with_kittis_own(sample_data, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "dataset.py"
    command = [sys.executable, str(script), "from-kitti3d", str(sample_data / "kitti"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True, check=True)
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("Car") and "0, 1" in line)
    assert int(row[3]) == 28
    assert float(row[4]) >= 0.75
    assert "pseudo labels" in done.stdout
