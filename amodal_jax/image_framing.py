"""What PNG and JPEG files say of themselves without being decoded: whether they are whole, their size, how they lie."""

import itertools
import re
import struct
import zlib
from collections.abc import Iterator

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_END = 0xD9
JPEG_SCAN = 0xDA
# What a decoder takes for the next marker: a zero after 0xFF makes that a byte of data, another 0xFF a filling.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
_JPEG_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD8)])
_JPEG_EXIF = 0xE1
_EXIF_PREFIX = b"Exif\x00\x00"
# Start-of-frame markers, which carry the size: C0 to CF but for the tables and extensions among them.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION_TAG = 0x0112


class _Damage(Exception):
    """What is wrong with a file's framing."""


def file_damage(content: bytes) -> str | None:
    """What is wrong with a PNG's or JPEG's framing, "truncated" or "damaged" in words, or None.

    What decoders pass over is nothing wrong: bytes between the segments of a JPEG, as webcams leave them, what follows
    after the end of the image, and a PNG's chunk with a wrong checksum that is not needed for the pixels. A file whose
    end is missing is truncated, however little that is.
    """
    try:
        if content.startswith(_PNG_SIGNATURE):
            for _ in _png_chunks(content):
                pass
        elif content.startswith(_JPEG_START):
            for _ in jpeg_segments(content):
                pass
    except _Damage as damage:
        return str(damage)
    return None


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of every segment and where its data begin and end; the last one is the marker of the image's end.

    Segments are found as decoders find them: what is no marker is passed over, the data of scans as well as stray
    bytes. The image's end has no data, and its begin and end are those of the marker. A file with `file_damage` raises.
    """
    position = len(_JPEG_START)
    scanned = False
    while found := _JPEG_MARKER.search(content, position):
        marker, begin = found[1][0], found.end()
        if marker == _JPEG_END:
            if not scanned:
                raise _Damage("the JPEG file is damaged (it ends before its picture begins)")
            yield marker, begin - 2, begin
            return
        position = begin
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        position += int.from_bytes(content[begin : begin + 2])
        if begin + 2 > len(content) or position > len(content):
            break
        if position < begin + 2:
            raise _Damage("the JPEG file is damaged (a segment has no length)")
        scanned |= marker == JPEG_SCAN
        yield marker, begin + 2, position
    raise _Damage("the JPEG file is truncated")


def stored_size(content: bytes) -> tuple[int, int] | None:
    """The (height, width) of the pixels as an undamaged PNG or JPEG stores them; None for what is neither."""
    if content.startswith(_PNG_SIGNATURE):
        width, height = struct.unpack_from(">II", content, len(_PNG_SIGNATURE) + 8)
        return height, width
    if content.startswith(_JPEG_START):
        for marker, begin, _ in jpeg_segments(content):
            if marker in JPEG_FRAMES:
                height, width = struct.unpack_from(">HH", content, begin + 1)
                return height, width
    return None


def orientation(content: bytes) -> int:
    """EXIF's orientation of an undamaged PNG or JPEG: 1, which is also taken where there is none, is upright."""
    if content.startswith(_PNG_SIGNATURE):
        blocks = [content[begin:end] for kind, begin, end in _png_chunks(content) if kind == b"eXIf"]
    elif content.startswith(_JPEG_START):
        blocks = [
            content[begin + len(_EXIF_PREFIX) : end]
            for marker, begin, end in itertools.takewhile(
                lambda segment: segment[0] != JPEG_SCAN, jpeg_segments(content)
            )
            if marker == _JPEG_EXIF and content.startswith(_EXIF_PREFIX, begin)
        ]
    else:
        blocks = []
    return _orientation_in(blocks[0]) if blocks else 1


def _orientation_in(exif: bytes) -> int:
    """The orientation in the first directory of EXIF's TIFF structure."""
    order = ">" if exif.startswith(b"MM") else "<"
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # it ends early: decoders pass it over as well
        pass
    return 1


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of every chunk and where its data begin and end; up to IEND all must be there, with right checksums.

    As libpng does, it passes over a chunk whose checksum is wrong where its kind, in lower case, says that an image can
    be shown without it.
    """
    view = memoryview(content)
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        begin = position + 8
        kind = bytes(view[position + 4 : begin])
        end = begin + int.from_bytes(view[position : position + 4])
        if not kind.isalpha():
            raise _Damage("the PNG file is damaged (no chunk where one is due)")
        if end + 4 > len(content):
            break
        if zlib.crc32(view[position + 4 : end]) == int.from_bytes(view[end : end + 4]):
            yield kind, begin, end
        elif kind[:1].isupper():
            raise _Damage("the PNG file is damaged (a checksum is wrong)")
        if kind == b"IEND":
            return
        position = end + 4
    raise _Damage("the PNG file is truncated")
