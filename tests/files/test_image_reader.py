"""Every kind of image file comes out as 8-bit RGB, and a damaged one never as a picture."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from amodal_jax.errors import ImageError
from amodal_jax.files.image_reader import read_image
from tests.files.test_image_framing import with_orientation

HEIGHT, WIDTH = 40, 64


@pytest.fixture
def rgb() -> np.ndarray:
    """A smooth picture of unlike channels, which JPEG keeps nearly unchanged."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 6, 255 - x * 2], axis=-1).astype(np.uint8)


def write(path, pixels: np.ndarray) -> None:
    """Writes RGB(A) or grey pixels by OpenCV, which takes BGR(A)."""
    if pixels.ndim == 3:
        order = [2, 1, 0, 3] if pixels.shape[-1] == 4 else [2, 1, 0]
        pixels = pixels[..., order]
    assert cv2.imwrite(str(path), pixels)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, palette: bytes = b"") -> bytes:
    """A PNG file by hand, for the kinds that OpenCV does not write. `rows` hold each row's filter byte, 0."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if palette else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tiff"])
def test_lossless_files_keep_every_value_in_rgb_order(tmp_path, rgb, suffix):
    path = tmp_path / f"image.{suffix}"
    write(path, rgb)
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_come_out_in_rgb_order(tmp_path, rgb, suffix):
    path = tmp_path / f"image.{suffix}"
    write(path, rgb)
    assert np.abs(read_image(path).astype(int) - rgb).mean() < 4


def test_grey_is_repeated(tmp_path, rgb):
    path = tmp_path / "grey.png"
    write(path, rgb[..., 0])
    np.testing.assert_array_equal(read_image(path), np.repeat(rgb[..., :1], 3, axis=-1))


def test_alpha_is_dropped(tmp_path, rgb):
    alpha = (np.arange(HEIGHT * WIDTH) % 256).astype(np.uint8).reshape(HEIGHT, WIDTH, 1)
    path = tmp_path / "rgba.png"
    write(path, np.concatenate([rgb, alpha], axis=-1))
    np.testing.assert_array_equal(read_image(path), rgb)

    rows = b"".join(b"\0" + np.concatenate([rgb[y, :, :1], alpha[y]], axis=-1).tobytes() for y in range(HEIGHT))
    path = tmp_path / "grey_alpha.png"
    path.write_bytes(png(WIDTH, HEIGHT, 8, 4, rows))
    np.testing.assert_array_equal(read_image(path), np.repeat(rgb[..., :1], 3, axis=-1))


def test_palette_is_looked_up(tmp_path):
    palette = np.array([[10, 20, 30], [250, 128, 0], [0, 0, 255]], np.uint8)
    indices = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in indices)
    path = tmp_path / "palette.png"
    path.write_bytes(png(WIDTH, HEIGHT, 8, 3, rows, palette.tobytes()))
    np.testing.assert_array_equal(read_image(path), palette[indices])


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    values = np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
    expected = np.round(values / 257).astype(np.uint8)
    path = tmp_path / "grey16.png"
    write(path, values)
    np.testing.assert_array_equal(read_image(path), np.repeat(expected[..., None], 3, axis=-1))

    path = tmp_path / "rgb16.png"
    write(path, np.stack([values, values[::-1], values // 2], axis=-1))
    image = read_image(path)
    np.testing.assert_array_equal(image[..., 0], expected)
    np.testing.assert_array_equal(image[..., 1], expected[::-1])
    np.testing.assert_array_equal(image[..., 2], np.round((values // 2) / 257))


def test_exif_orientation_turns_the_image_upright(tmp_path, rgb):
    plain, turned = tmp_path / "plain.jpg", tmp_path / "turned.jpg"
    write(plain, rgb)
    turned.write_bytes(with_orientation(plain.read_bytes(), 6))
    np.testing.assert_array_equal(read_image(turned), np.rot90(read_image(plain), -1))


def test_a_kitti_frame(sample_data):
    image = read_image(sample_data / "kitti" / "image_2" / "000008.png")
    assert image.shape == (375, 1242, 3)
    assert image.dtype == np.uint8
    bgr = cv2.imread(str(sample_data / "kitti" / "image_2" / "000008.png"))
    np.testing.assert_array_equal(image, bgr[..., ::-1])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_cut_file_is_no_picture(tmp_path, suffix, share):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    whole, cut, padded = (tmp_path / f"{name}.{suffix}" for name in ("whole", "cut", "padded"))
    write(whole, pixels)
    content = whole.read_bytes()
    read_image(whole)
    kept = content[: int(len(content) * share)]
    cut.write_bytes(kept)
    padded.write_bytes(kept + bytes(len(content) - len(kept)))  # as an interrupted download leaves it
    for path in (cut, padded):
        with pytest.raises(ImageError, match=path.name):
            read_image(path)


def test_a_thumbnail_does_not_hide_a_cut_jpeg(tmp_path, rgb):
    path = tmp_path / "photo.jpg"
    write(path, rgb)
    whole = path.read_bytes()
    thumbnail = b"Exif\0\0" + whole  # any segment that holds a whole JPEG
    photo = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    path.write_bytes(photo)
    assert read_image(path).shape == rgb.shape
    path.write_bytes(photo[:-200])
    with pytest.raises(ImageError, match=r"photo\.jpg: the JPEG file is truncated"):
        read_image(path)


def test_a_damaged_png_is_named(tmp_path, rgb):
    path = tmp_path / "damaged.png"
    write(path, rgb)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"damaged\.png.*checksum"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"Date,Frame\n1,2\n", "no image"), (b"\x89PNG\r\n\x1a\n", "truncated")]
)
def test_no_image_is_named(tmp_path, content, message):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"notes\.png.*{message}"):
        read_image(path)


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png.*No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="directory"):
        read_image(tmp_path)


def test_floating_point_pixels_are_refused(tmp_path, rgb):
    path = tmp_path / "depth.tiff"
    assert cv2.imwrite(str(path), rgb.astype(np.float32) / 255)
    with pytest.raises(ImageError, match=r"depth\.tiff: has float32 pixels"):
        read_image(path)
