"""What is decoded completely is accepted, what lacks data is refused, wherever it was cut off, with the reason."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.errors import ImageError
from amodal_jax.image_damage import image_kind
from amodal_jax.image_framing import jpeg_segments
from amodal_jax.image_reader import decode_image, read_image
from data.image_files import checked_size

HEIGHT, WIDTH = 40, 64
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
KINDS = {
    "PNG": (".png", []),
    "JPEG": (".jpg", []),
    "JPEG, progressive": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "JPEG, restarted": (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
    "BMP": (".bmp", []),
    "WebP": (".webp", []),
    "WebP, lossless": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "TIFF": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
    "TIFF, compressed": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
    "TIFF, of JPEG": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 7]),
    "JPEG 2000": (".jp2", []),
    "PNM": (".ppm", []),
    "PNM, grey": (".pgm", []),
    "PNM, black and white": (".pbm", []),
}
KINDS |= {kind: (ending, []) for kind, ending in (("GIF", ".gif"), ("AVIF", ".avif")) if cv2.haveImageWriter(ending)}


def encoded(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    suffix, options = KINDS[kind]
    if suffix in (".pgm", ".pbm"):
        pixels = pixels[..., 0]
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


FILES = {kind: encoded(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=60)
def test_a_file_cut_off_anywhere_is_truncated(kind, data):
    whole = FILES[kind]
    decode_image(whole, "whole")
    assert image_kind(whole) == kind.partition(",")[0]
    length = data.draw(st.integers(12, len(whole) - 1) | st.integers(len(whole) - 40, len(whole) - 1))
    with pytest.raises(ImageError, match=r"^photo: the .* file is truncated"):
        decode_image(whole[:length], "photo")


@pytest.mark.parametrize("kind", KINDS)
def test_not_even_the_beginning_of_a_file_is_a_picture(kind):
    for length in range(12):
        with pytest.raises(ImageError, match="^photo: .*(empty|no image|truncated)"):
            decode_image(FILES[kind][:length], "photo")


def segments(image: bytes) -> list[tuple[int, int]]:
    """The marker of each segment of a JPEG and where it stands, the end of the image among them."""
    return [(marker, begin if marker == 0xD9 else begin - 4) for marker, begin, _ in jpeg_segments(image)]


STRAY = st.lists(st.sampled_from([b"\0", b"\x7f", b"\xd9", b"\xff\0", b"\xff"]) | st.binary(max_size=9), max_size=6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][0] == ".jpg"])
@given(stray=st.lists(STRAY, min_size=20, max_size=20))
@settings(max_examples=30)
def test_stray_bytes_between_the_segments_of_a_jpeg_change_nothing(kind, stray, tmp_path_factory):
    whole = FILES[kind]
    (_, before), *others = segments(whole)  # the first has to stand at the beginning
    content = whole[:before]
    for (_, position), pieces in zip(others, stray, strict=False):
        # Whatever follows 0xFF would be a marker.
        piece = b"".join(pieces).replace(b"\xff", b"\xff\0")
        content, before = content + whole[before:position] + piece, position
    path = tmp_path_factory.mktemp("webcam") / "photo.jpg"
    path.write_bytes(content + whole[before:])
    np.testing.assert_array_equal(read_image(path), decode_image(whole, "whole"))
    assert checked_size(path) == (HEIGHT, WIDTH)


def test_images_that_webcams_wrote(sample_data):
    for path in sorted((sample_data / "field_cases" / "07-jpeg-extraneous-bytes").glob("*.jpg")):
        height, width = checked_size(path)
        assert read_image(path).shape == (height, width, 3)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG, restarted"])
@given(missing=st.integers(1, 2500))
@settings(max_examples=80)
def test_a_jpeg_that_was_cut_off_and_closed_again_is_truncated(kind, missing):
    """As programs that grab frames do: decoders fill up the rest with grey and say nothing."""
    whole = FILES[kind]
    (end,) = (position for marker, position in segments(whole) if marker == 0xD9)
    with pytest.raises(ImageError, match="^photo: the JPEG file is truncated"):
        decode_image(whole[: end - missing] + whole[end:], "photo")


def test_a_frame_of_a_film_has_the_tables_that_all_have(tmp_path):
    """Frames of motion JPEG leave out the tables of codes, which are always the same."""
    without = b""
    whole = FILES["JPEG"]
    starts = [position for _, position in segments(whole)] + [len(whole)]
    for (marker, start), end in zip(segments(whole), starts[1:], strict=True):
        without += b"" if marker == 0xC4 else whole[start:end]
    np.testing.assert_array_equal(decode_image(whole[:2] + without, "frame"), decode_image(whole, "whole"))


@given(st.integers(8, 400), st.integers(8, 400), st.integers(20, 100), st.sampled_from([1, 3]), st.integers(0, 3))
@settings(max_examples=60)
def test_no_whole_jpeg_is_refused(height, width, quality, channels, subsampling):
    factors = [0x111111, 0x221111, 0x211111, 0x411111][subsampling]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors]
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    content = cv2.imencode(".jpg", cv2.blur(pixels, (3, 3)), options)[1].tobytes()
    assert decode_image(content, "photo").shape == (height, width, 3)
    assert decode_image(content + b"an appended film", "photo").shape == (height, width, 3)


def png_chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def test_a_png_chunk_that_pixels_do_not_need_may_be_damaged(tmp_path):
    whole, path = FILES["PNG"], tmp_path / "photo.png"
    path.write_bytes(whole[:33] + png_chunk(b"tEXt", b"a\0b", checksum=1) + whole[33:])
    np.testing.assert_array_equal(read_image(path), PIXELS[..., ::-1])
    assert checked_size(path) == (HEIGHT, WIDTH)
    for damaged, words in (
        (whole[:33] + png_chunk(b"PLTE", b"abc", checksum=1) + whole[33:], "damaged .a checksum is wrong"),
        (whole[:33] + bytes(4) + b"\0\1\2\3" + whole[33:], "damaged .no chunk where one is due"),
    ):
        path.write_bytes(damaged)
        for read in (read_image, checked_size):
            with pytest.raises(ImageError, match=words):
                read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xd8\xff\xd9", "damaged .it ends before its picture"),
        (b"\xff\xd8\xff\xdb\0\1" + FILES["JPEG"][2:], "damaged .a segment has no length"),
        (FILES["JPEG"].replace(b"\xff\xdb", b"\xff\xfe"), "JPEG file is damaged"),  # without quantization tables
        (b"\xff\xd8" + b"\xff" * 1_000_000, "truncated"),
        (b"\xff\xd8" + b"\xff\0" * 1_000_000, "truncated"),
    ],
)
def test_a_damaged_jpeg_is_named(tmp_path, content, words):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (read_image, checked_size):
        with pytest.raises(ImageError, match=rf"photo\.jpg: .*{words}"):
            read(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][0] not in (".png", ".jpg")])
def test_a_whole_image_that_a_dataset_does_not_hold_is_not_called_damaged(tmp_path, kind):
    path = tmp_path / "image"
    path.write_bytes(FILES[kind])
    with pytest.raises(
        ImageError, match=f"is a {kind.partition(',')[0]} image, and datasets hold PNG and JPEG; convert"
    ):
        checked_size(path)
