import dataclasses
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.masks import segmentation
from data.kins.annotations import find_annotation_files, read_annotation_file
from data.kins.layout import IMAGE_FOLDERS
from data.synthetic import generate as generate_module
from data.synthetic.camera import sample_camera
from data.synthetic.generate import Request, generate
from data.synthetic.photographs import crop_to_horizon, find_photographs
from data.synthetic.scene import make_scene

REQUEST = Request(train=5, test=2, seed=4, width=124, height=38)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "scenes"
    assert generate(out, REQUEST, progress=False)
    return out


def _contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_kins_reader_takes_it_without_a_problem(written):
    files = find_annotation_files(written)
    for split, count in (("train", REQUEST.train), ("test", REQUEST.test)):
        annotations = read_annotation_file(files[split])
        assert annotations.release == "2020"
        assert annotations.problems == ()
        assert [image.id for image in annotations.images] == list(range(count))
        assert set(annotations.categories.values()) == set(KINS_CLASS_NAMES)


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("test", 1)])
def test_files_hold_the_scenes(written, split, number):
    annotations = read_annotation_file(find_annotation_files(written)[split])
    for image in annotations.images:
        scene = make_scene((REQUEST.seed, number, image.id), REQUEST.width, REQUEST.height)
        image_path = written / IMAGE_FOLDERS[split] / image.file_name
        np.testing.assert_array_equal(cv2.imread(str(image_path))[..., ::-1], scene.image)
        assert len(image.annotations) == len(scene.instances)
        for annotation, instance in zip(image.annotations, scene.instances, strict=True):
            assert annotations.categories[annotation["category_id"]] == instance.class_name
            np.testing.assert_array_equal(segmentation.decode(annotation["a_segm"]), instance.amodal_mask)
            np.testing.assert_array_equal(segmentation.decode(annotation["i_segm"]), instance.visible_mask)


def test_orders_agree_with_what_hides_what(written):
    annotations = read_annotation_file(find_annotation_files(written)["train"])
    overlaps = 0
    for image in annotations.images:
        masks = [segmentation.decode(annotation["a_segm"]) for annotation in image.annotations]
        seen = [segmentation.decode(annotation["i_segm"]) for annotation in image.annotations]
        for i, one in enumerate(image.annotations):
            touching = [j for j in range(len(masks)) if j != i and (masks[i] & masks[j]).any()]
            assert (one["ico_id"] == 0) == (not touching)
            for j in touching:
                other = image.annotations[j]
                assert one["oco_id"] == other["oco_id"]
                # Of two that overlap, the one with the smaller order is seen in their common part, if either is.
                hidden_one = one if one["ico_id"] > other["ico_id"] else other
                index = i if hidden_one is one else j
                assert not (seen[index] & masks[i] & masks[j]).any()
                overlaps += 1
    assert overlaps


def test_bytes_do_not_depend_on_the_workers(written, tmp_path, monkeypatch):
    monkeypatch.setattr("data.synthetic.generate._IMAGES_WORTH_PROCESSES", 1)
    generate(tmp_path / "scenes", REQUEST, workers=2, progress=False)
    assert _contents(tmp_path / "scenes") == _contents(written)


def test_train_and_test_share_no_image(written):
    images = [content for name, content in _contents(written).items() if name.endswith(".png")]
    assert len(images) == REQUEST.train + REQUEST.test
    assert len(set(images)) == len(images)


def test_the_same_request_is_reused_and_another_refused(written, tmp_path):
    out = tmp_path / "scenes"
    shutil.copytree(written, out)
    image = out / "training" / "image_2" / "000000.png"
    before = image.stat().st_mtime_ns
    assert not generate(out, REQUEST, progress=False)
    assert image.stat().st_mtime_ns == before
    other = dataclasses.replace(REQUEST, train=1, test=1, seed=5)
    with pytest.raises(DataError, match="other synthetic scenes"):
        generate(out, other, progress=False)
    assert _contents(out) == _contents(written)
    assert generate(out, other, force=True, progress=False)
    assert (out / "request.json").read_text() == other.to_json()
    assert len(list(out.rglob("*.png"))) == 2
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_of_anything_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("five years of work")
    with pytest.raises(DataError, match="holds no synthetic scenes"):
        generate(tmp_path, REQUEST, force=True, progress=False)
    assert (tmp_path / "thesis.txt").exists()


def _full_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_failure_leaves_what_was_there(written, tmp_path, monkeypatch):
    out = tmp_path / "scenes"
    shutil.copytree(written, out)
    monkeypatch.setattr(generate_module, "write_annotations", _full_disk)
    small = dataclasses.replace(REQUEST, train=1, test=1)
    with pytest.raises(OSError, match="No space left"):
        generate(out, small, force=True, progress=False)
    with pytest.raises(OSError, match="No space left"):
        generate(tmp_path / "new", small, progress=False)
    assert _contents(out) == _contents(written)
    assert not (tmp_path / "new").exists()


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(written, tmp_path, monkeypatch):
    out, unfinished = tmp_path / "scenes", tmp_path / ".scenes.unfinished"
    draw, drawn = make_scene, []

    def stopped_at_the_fourth(seed, *arguments):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(seed)
        return draw(seed, *arguments)

    monkeypatch.setattr(generate_module, "make_scene", stopped_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        generate(out, REQUEST, progress=False)
    assert not out.exists()
    # A process that is killed leaves the file that it was writing.
    (unfinished / "scenes" / IMAGE_FOLDERS["train"] / ".000003.png.x").mkdir()
    first = list(drawn)
    monkeypatch.setattr(generate_module, "make_scene", lambda *given: (drawn.append(given[0]), draw(*given))[1])
    assert generate(out, REQUEST, progress=False)
    assert len(set(drawn)) == len(drawn) == REQUEST.train + REQUEST.test
    assert drawn[:3] == first
    assert _contents(out) == _contents(written)
    assert list(tmp_path.iterdir()) == [out]


def test_what_another_request_left_unfinished_is_not_taken(written, tmp_path, monkeypatch):
    out = tmp_path / "scenes"
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "write_annotations", _full_disk)
        with pytest.raises(OSError, match="No space left"):
            generate(out, dataclasses.replace(REQUEST, seed=9), progress=False)
    assert generate(out, REQUEST, progress=False)
    assert _contents(out) == _contents(written)


def test_two_processes_do_not_draw_the_same(tmp_path):
    unfinished = tmp_path / ".scenes.unfinished"
    unfinished.mkdir()
    with (unfinished / "request.json").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process"):
            generate(tmp_path / "scenes", REQUEST, progress=False)


def test_photographs_are_drawn_on(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    with pytest.raises(DataError, match="holds no images"):
        find_photographs(folder)
    # Above the horizon blue, below it green: nothing else may be seen where no object, shadow or noise is.
    picture = np.zeros((90, 200, 3), np.uint8)
    picture[:45], picture[45:] = (200, 60, 20), (20, 160, 20)
    cv2.imwrite(str(folder / "a.png"), picture)
    photographs = find_photographs(folder)
    request = dataclasses.replace(REQUEST, photographs=photographs.sha256)
    with pytest.raises(DataError, match="other photographs"):
        generate(tmp_path / "scenes", request, progress=False)
    generate(tmp_path / "scenes", request, photographs=photographs, progress=False)
    image = cv2.imread(str(tmp_path / "scenes" / IMAGE_FOLDERS["train"] / "000000.png")).astype(int)
    assert (image[0, :, 0] > image[0, :, 1]).all()
    assert (image[-1, :, 1] > image[-1, :, 0]).mean() > 0.3
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.png"):
        find_photographs(folder)


@given(seed=st.integers(0, 2**32), half_height=st.integers(32, 60), width=st.integers(124, 400))
@settings(max_examples=30)
def test_a_photographs_horizon_comes_to_the_cameras(seed, half_height, width):
    # Of narrower photographs a pixel becomes several, and of an odd height no row ends at the middle.
    height = 2 * half_height
    rng = np.random.default_rng(seed)
    camera = sample_camera(rng, 124, 38)
    photograph = np.zeros((height, width, 3), np.uint8)
    photograph[half_height:] = 255
    part = crop_to_horizon(rng, photograph, camera)
    assert part.shape == (38, 124, 3)
    # The blur of a strong reduction aside, the step lies at the horizon.
    step = np.abs(np.diff(part[:, 60, 0].astype(int))).argmax() + 1
    if 0.8 * height * 124 / 38 >= width:
        assert abs(step - camera.horizon) <= 2


@pytest.mark.parametrize(
    ("field", "value"), [("train", 0), ("test", 0), ("seed", -1), ("width", 10), ("height", 5), ("traffic", "none")]
)
def test_an_impossible_request_is_refused_by_name(tmp_path, field, value):
    with pytest.raises(DataError, match=f"{field} is '?{value}"):
        generate(tmp_path / "scenes", dataclasses.replace(REQUEST, **{field: value}), progress=False)
    assert not (tmp_path / "scenes").exists()


def test_scenes_of_some_classes_hold_no_others(tmp_path):
    classes = ("pedestrian", "tram")
    generate(tmp_path / "scenes", dataclasses.replace(REQUEST, classes=classes, traffic="light"), progress=False)
    file = read_annotation_file(find_annotation_files(tmp_path / "scenes")["train"])
    used = {annotation["category_id"] for image in file.images for annotation in image.annotations}
    assert set(file.categories.values()) == set(classes)
    assert {file.categories[category] for category in used} == set(classes)


def test_a_split_without_an_instance_is_refused(tmp_path):
    with pytest.raises(DataError, match="the train split, of 1 images, has no instance"):
        generate(tmp_path / "scenes", dataclasses.replace(REQUEST, train=1, classes=("tram",)), progress=False)


@pytest.mark.parametrize("classes", [(), ("car", "bus"), ("car", "car")])
def test_classes_that_cannot_be_drawn_are_refused(tmp_path, classes):
    with pytest.raises(DataError, match=f"classes are {', '.join(classes) or 'none'}; name each"):
        generate(tmp_path / "scenes", dataclasses.replace(REQUEST, classes=classes), progress=False)
    assert not (tmp_path / "scenes").exists()


def test_the_command_line(tmp_path):
    script = Path(__file__).parents[3] / "scripts" / "dataset.py"
    out = str(tmp_path / "scenes")
    command = [
        sys.executable,
        str(script),
        "synthesise",
        "--images",
        "3",
        "--seed",
        "1",
        "--out",
        out,
        "--test-images",
        "1",
    ]
    size = ["--width", "124", "--height", "38"]
    done = subprocess.run([*command, *size, "--workers", "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith("wrote 3 images")) == (0, True)
    refused = subprocess.run([*command, "--width", "200"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert len(refused.stderr.splitlines()) == 1
