"""Why an image file is no whole picture: it is truncated, it is damaged, or it is of a kind that is not read.

Decoders fill up what is missing, some without a word, so that whether PNG and JPEG files are whole, which nearly all
images are, is not left to them. Of files of other kinds OpenCV refuses those that lack data, but it does not say why.
"""

import re
import struct
from collections.abc import Callable

import cv2
import numpy as np

from amodal_jax.image_framing import JPEG_FRAMES, JPEG_SCAN, file_damage, jpeg_segments

# Frames that are coded by Huffman in one pass, as nearly all are, and the segment that says that they are in parts.
_PLAIN_FRAMES = (0xC0, 0xC1)
_JPEG_RESTARTS = 0xDD
# Entropy-coded data that are no part of any picture. They differ in the first bits already, for the last block may lack
# no more; three, as two may come to the same there.
_STRANGE_DATA = (bytes(64), b"\xaa" * 64, b"\x55" * 64)

_PNM_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PNM_HEADER = re.compile(rb"P[4-6]" + 2 * (_PNM_SPACE + rb"(\d{1,9})"))
_PNM_MAXIMUM = re.compile(_PNM_SPACE + rb"(\d{1,9})")


def damage(content: bytes) -> str | None:
    """What keeps a PNG or JPEG from being a whole picture, or None; other files are left to `why_unread`."""
    return file_damage(content) or missing_pixels(content)


def missing_pixels(content: bytes) -> str | None:
    """What is wrong with the pixels of a JPEG whose framing is undamaged, or None, also for all other files.

    Where its data end before its last pixel, decoders fill up the picture and say nothing, if a marker says that the
    image ends there. They then take whatever is put in place of the marker, so that pictures with unlike data there
    differ; after the last pixel they leave it. Of a picture in several scans only the framing is looked at.
    """
    if not content.startswith(b"\xff\xd8"):
        return None
    segments = list(jpeg_segments(content))
    markers = [marker for marker, _, _ in segments]
    frame = next((marker for marker in markers if marker in JPEG_FRAMES), None)
    if frame not in _PLAIN_FRAMES or markers.count(JPEG_SCAN) > 1:
        return None
    end = segments[-1][1]
    first = None
    for strange in _strange_ends(content[:end], has_parts=_JPEG_RESTARTS in markers):
        picture = _decoded(strange)
        if picture is None:  # it is not enough, or this decoder wants a marker even if it needs nothing else
            picture = _decoded(strange + content[end:])
        if picture is None:
            return why_unread(content)
        first = picture if first is None else first
        if not np.array_equal(first, picture):
            return "the JPEG file is truncated (its data end before its last pixel)"
    return None


def _strange_ends(content: bytes, *, has_parts: bool) -> list[bytes]:
    """A JPEG up to the marker of its end, with several other data behind it.

    Where its data are in parts that a decoder starts afresh with, each behind a marker with the next of eight numbers,
    the data that it may lack are a part, too.
    """
    data = content + (b"\0" if content.endswith(b"\xff") else b"")  # a zero says that 0xFF is no marker
    ends = [data + strange for strange in _STRANGE_DATA]
    if has_parts:
        *_, last = 0xD7, *(number[0] for number in re.findall(rb"\xff([\xd0-\xd7])", content))
        following = bytes([0xFF, 0xD0 + (last + 1) % 8])
        ends += [data + following + strange for strange in _STRANGE_DATA]
    return ends


def why_unread(content: bytes) -> str:
    """Why OpenCV gives no picture of a file without `file_damage`."""
    kind = image_kind(content)
    if kind is None:
        return "is no image, or of a kind that OpenCV does not read"
    if _is_cut_off(content, kind):
        return f"the {kind} file is truncated"
    return f"the {kind} file is damaged, or of a variety that OpenCV does not read"


def image_kind(content: bytes) -> str | None:
    """The kind of an image file by how it begins; None for what is none of the common ones."""
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:11])
    if content.startswith(b"RIFF"):
        return "WebP" if content[8:12] == b"WEBP" else None
    return next((kind for start, kind in _STARTS.items() if content.startswith(start)), None)


def _decoded(content: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


_STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8": "JPEG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    **{f"P{number}".encode(): "PNM" for number in range(1, 7)},
}

# Of ISO's media files, films among them: the first letters of what they say they are.
_BRANDS = {b"avi": "AVIF", b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC"}

# Bytes of a value, by its form; where strips and tiles begin, and how long each is.
_TIFF_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_PARTS = (273, 324, 279, 325)


def _is_cut_off(content: bytes, kind: str) -> bool:
    length = _LENGTHS.get(kind)
    try:
        return length is not None and len(content) < length(content)
    except (struct.error, IndexError):  # it ends within what says how long it is
        return True


def _bmp_length(content: bytes) -> int:
    begin, header, width, height = struct.unpack_from("<IIii", content, 10)
    if header == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", content, 18)
        compression, size = 0, 0
    else:
        depth, compression, size = struct.unpack_from("<HII", content, 28)
    return begin + (size if compression in (1, 2) else (width * depth + 31) // 32 * 4 * abs(height))


def _gif_length(content: bytes) -> int:
    def after_table(position: int, flags: int) -> int:
        return position + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    position = after_table(13, content[10])
    while content[position] in (0x21, 0x2C):
        if content[position] == 0x21:
            position += 2
        else:
            position = after_table(position + 10, content[position + 9]) + 1
        while content[position]:
            position += 1 + content[position]
        position += 1
    return position + 1


def _tiff_length(content: bytes) -> int:
    """Of the first picture, which is the one that is read, and of what describes it."""
    order = "<" if content.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, directory)
    ends = [directory + 2 + 12 * count]
    parts: dict[int, tuple[int, ...]] = {}
    for entry in range(directory + 2, ends[0], 12):
        tag, form, number, far = struct.unpack_from(f"{order}HHII", content, entry)
        place = entry + 8 if number * _TIFF_SIZES.get(form, 1) <= 4 else far
        ends.append(place + number * _TIFF_SIZES.get(form, 1))
        if tag in _TIFF_PARTS and form in (3, 4):
            parts[tag] = struct.unpack_from(f"{order}{number}{'H' if form == 3 else 'I'}", content, place)
    begins, lengths = (sum((parts.get(tag, ()) for tag in tags), ()) for tags in (_TIFF_PARTS[:2], _TIFF_PARTS[2:]))
    return max(*ends, *(begin + length for begin, length in zip(begins, lengths, strict=False)))


def _webp_length(content: bytes) -> int:
    return 8 + struct.unpack_from("<I", content, 4)[0]


def _boxes_length(content: bytes, wanted: bytes = b"mdat") -> int:
    """Of the boxes of ISO's media files, which AVIF, HEIC and JPEG 2000 are made of, up to the one with the pixels."""
    position, kind = 0, b""
    while kind != wanted:
        length, kind = struct.unpack_from(">I4s", content, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, position + 8)
        if length == 0:
            return len(content)
        position += max(length, 8)
    return position


def _jpeg_2000_length(content: bytes) -> int:
    boxes = 0 if content.startswith(b"\xff") else _boxes_length(content, b"jp2c")
    return max(boxes, len(content) + (not content.endswith(b"\xff\xd9")))


def _pnm_length(content: bytes) -> int:
    if content[1:2] in b"123":  # numbers in text, of which nothing says where they end
        return 0
    if not (header := _PNM_HEADER.match(content)):
        raise IndexError
    width, height = int(header[1]), int(header[2])
    if content.startswith(b"P4"):
        return header.end() + 1 + (width + 7) // 8 * height
    if not (maximum := _PNM_MAXIMUM.match(content, header.end())):
        raise IndexError
    samples = width * height * (3 if content.startswith(b"P6") else 1)
    return maximum.end() + 1 + samples * (1 if int(maximum[1]) < 256 else 2)


_LENGTHS: dict[str, Callable[[bytes], int]] = {
    "BMP": _bmp_length,
    "GIF": _gif_length,
    "TIFF": _tiff_length,
    "WebP": _webp_length,
    "JPEG 2000": _jpeg_2000_length,
    "AVIF": _boxes_length,
    "HEIC": _boxes_length,
    "PNM": _pnm_length,
}
