"""Size and orientation as OpenCV finds them; whether a file is whole is tested with `image_reader`."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from amodal_jax.files.image_framing import orientation, stored_size

HEIGHT, WIDTH = 40, 64


def exif(orientation: int, order: str) -> bytes:
    """A TIFF structure of two entries, the second of them the orientation."""
    first = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, WIDTH, 0)
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}IH", 8, 2)
        + first
        + struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
        + bytes(4)
    )


def with_orientation(image: bytes, orientation: int, order: str = "<") -> bytes:
    """Inserts what a camera says of how it was held into a JPEG or PNG file."""
    block = exif(orientation, order)
    if image.startswith(b"\xff\xd8"):
        segment = b"Exif\0\0" + block
        return image[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + image[2:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    header_end = 8 + 12 + 13
    return image[:header_end] + chunk + image[header_end:]


@pytest.fixture(params=["jpg", "png"])
def image(request) -> bytes:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:10, :20] = 255  # so that each orientation gives another picture
    return cv2.imencode(f".{request.param}", pixels)[1].tobytes()


def decoded(image: bytes, flags: int) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(image, np.uint8), flags)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_orientation_is_what_opencv_obeys(image, turned, order):
    content = with_orientation(image, turned, order)
    stored = decoded(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert orientation(content) == turned
    assert stored_size(content) == stored.shape[:2] == (HEIGHT, WIDTH)
    upright = decoded(content, cv2.IMREAD_COLOR)
    assert np.array_equal(upright, stored) == (turned == 1)


def test_without_an_entry_it_is_upright(image):
    assert orientation(image) == 1
    assert stored_size(image) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("turned", [0, 9])
def test_an_orientation_that_is_none_is_upright(image, turned):
    content = with_orientation(image, turned)
    assert orientation(content) == 1
    np.testing.assert_array_equal(decoded(content, cv2.IMREAD_COLOR), decoded(image, cv2.IMREAD_COLOR))


def test_an_exif_block_that_ends_early_says_nothing():
    image = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    segment = b"Exif\0\0" + exif(6, "<")[:20]
    assert orientation(image[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + image[2:]) == 1


def test_other_files_have_no_size():
    assert stored_size(b"GIF89a") is None
    assert orientation(b"GIF89a") == 1
