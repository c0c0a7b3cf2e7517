"""The parts of the script that goes with an export against those of the package and of other libraries."""

import re
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax import export_runner
from amodal_jax.errors import ImageError
from amodal_jax.files.image_reader import read_image
from amodal_jax.masks import paste as pasting
from amodal_jax.structures import MaskPaste
from tests.files.test_image_framing import with_orientation
from tests.helpers.full_disk import files_limited_to

GOLDEN = Path(__file__).resolve().parent / "golden" / "ops" / "mask_output.npz"


def pasted(probability, box, size, threshold, paste):
    image = np.zeros(size, bool)
    export_runner.paste_mask(image, probability, box, threshold, paste)
    return image


def test_pastes_as_torchvision():
    golden = np.load(GOLDEN)
    height, width = (int(side) for side in golden["image_size"])
    expected = np.unpackbits(golden["packed"], axis=-1, count=width).astype(bool)
    found = [
        pasted(*one, (height, width), 0.5, "torchvision") for one in zip(golden["masks"], golden["boxes"], strict=True)
    ]
    # Where the resized probability is the threshold but for rounding, a pixel may fall to either side.
    assert np.sum(np.stack(found) != expected) <= 1e-5 * np.sum(expected)


@settings(deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([0.3, 0.5, 0.9]),
    st.sampled_from(get_args(MaskPaste)),
)
def test_pastes_as_the_package(seed, size, threshold, paste):
    """Random boxes, beyond the image, under a pixel and inverted ones included."""
    rng = np.random.default_rng(seed)
    # Multiples of 1/8, so that whole and half cells meet and no rounding decides, but for the threshold's own value.
    probabilities = rng.integers(0, 9, (6, 28, 28)).astype(np.float32) / 8 + np.float32(1e-3)
    boxes = rng.uniform(-20, 60, (6, 4)).astype(np.float32)
    boxes[0, 2:] = boxes[0, :2] + 0.3
    different = 0
    for probability, box in zip(probabilities, boxes, strict=True):
        expected = pasting.paste_mask(probability, box, size, threshold, paste)
        different += np.sum(pasted(probability, box, size, threshold, paste) != expected)
    assert different <= (paste == "torchvision")


def test_reads_what_the_library_writes(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"params/a/kernel": (3, 3, 4, 5), "params/a/bias": (5,), "frozen/scale": ()}
    arrays = {name: np.asarray(rng.normal(size=shape), np.float32) for name, shape in shapes.items()}
    path = tmp_path / "parameters.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"step": "3"})
    found = export_runner.read_safetensors(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)

    content = path.read_bytes()
    for length in (0, 4, 40, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"parameters\.safetensors: is damaged"):
            export_runner.read_safetensors(path)
    safetensors.numpy.save_file({"x": np.zeros(2, np.float16)}, path)
    with pytest.raises(ValueError, match="x is F16, not F32"):
        export_runner.read_safetensors(path)


def as_the_package_reads(path):
    """The pixels as both read them, or what the script says where both refuse the file."""
    try:
        expected = read_image(path)
    except ImageError:
        with pytest.raises(ValueError, match=re.escape(str(path))) as error:
            export_runner.read_image(path)
        return str(error.value)
    np.testing.assert_array_equal(export_runner.read_image(path), expected)
    return expected


def test_images_are_read_as_the_package_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    for name, pixels in {
        "colours.png": rng.integers(0, 256, (5, 7, 3), np.uint8),
        "photograph.jpg": rng.integers(0, 256, (15, 27, 3), np.uint8),
        "grey.png": rng.integers(0, 256, (5, 7), np.uint8),
        "deep.png": rng.integers(0, 1 << 16, (5, 7, 3), np.uint16),
        "transparent.png": rng.integers(0, 256, (5, 7, 4), np.uint8),
        "bitmap.bmp": rng.integers(0, 256, (5, 7, 3), np.uint8),
    }.items():
        cv2.imwrite(str(tmp_path / name), pixels)
        assert as_the_package_reads(tmp_path / name).shape == (*pixels.shape[:2], 3)
    turned = with_orientation((tmp_path / "photograph.jpg").read_bytes(), 6)
    (tmp_path / "turned.jpg").write_bytes(turned)
    assert as_the_package_reads(tmp_path / "turned.jpg").shape == (27, 15, 3)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif"])
def test_images_that_lack_data_are_refused_as_the_package_refuses_them(ending, tmp_path):
    path = tmp_path / f"image{ending}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    content = path.read_bytes()
    for length in range(0, len(content), 1 + len(content) // 60):
        path.write_bytes(content[:length])
        assert str(path) in as_the_package_reads(path)
    for other in (b"no image", b"<html></html>", content[:20] + b"\xff" * 20 + content[40:]):
        path.write_bytes(other)
        as_the_package_reads(path)
    assert "cannot be read: Is a directory" in as_the_package_reads(tmp_path)
    assert "cannot be read: No such file" in as_the_package_reads(tmp_path / "absent.png")


def test_arrays_are_read(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "image.npy"
    np.save(path, pixels)
    np.testing.assert_array_equal(export_runner.read_image(path), pixels)
    content = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"image\.npy: the file is empty"):
        export_runner.read_image(path)
    for other in (b"no array", content[:-1], content.replace(b"'descr'", b"'decsr'"), content.replace(b"(5", b"((")):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"image\.npy: is no array of pixels, or damaged"):
            export_runner.read_image(path)
    (tmp_path / "image.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"image\.png: save the pixels with numpy\.save .* or install opencv"):
        export_runner.read_image(tmp_path / "image.png")


def test_a_file_of_arrays_is_whole_or_not_there(tmp_path):
    export_runner.write_npz(tmp_path / "found.npz", {"scores": np.ones(3)})
    np.testing.assert_array_equal(np.load(tmp_path / "found.npz")["scores"], np.ones(3))
    with pytest.raises(TypeError):
        export_runner.write_npz(tmp_path / "other.npz", {"scores": np.ones(3), 3: np.ones(3)})
    noise = np.random.default_rng(0).random(10_000)
    with files_limited_to(1000), pytest.raises(OSError, match=r"File too large: '.*other\.npz'"):
        export_runner.write_npz(tmp_path / "other.npz", {"scores": noise})
    assert [path.name for path in tmp_path.iterdir()] == ["found.npz"]


def test_ctrl_c_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(export_runner, "ExportedNetwork", interrupted)
    monkeypatch.setattr(sys, "argv", ["run.py", "image.npy", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        export_runner.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "error: interrupted\n")
