"""What PNG and JPEG files say of themselves without being decoded: whether they are whole, their size, how they lie."""

import struct
import zlib
from collections.abc import Iterator

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_EXIF = 0xE1
_EXIF_PREFIX = b"Exif\x00\x00"
# Start-of-frame markers, which carry the size: C0 to CF but for the tables and extensions among them.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION_TAG = 0x0112


class _Damage(Exception):
    """What is wrong with a file's framing."""


def file_damage(content: bytes) -> str | None:
    """What is wrong with a PNG's or JPEG's framing, or None.

    Decoders fill up a file that ends early: before 5.0, OpenCV returns a cut JPEG as a half-grey picture without a
    word. So completeness is not left to them for the two kinds that nearly all images are of.
    """
    try:
        if content.startswith(_PNG_SIGNATURE):
            for _ in _png_chunks(content):
                pass
        elif content.startswith(_JPEG_START):
            for marker, begin, _ in _jpeg_segments(content):
                # An end of the image before the start of the scan belongs to an embedded thumbnail.
                if marker == _JPEG_SCAN and content.find(_JPEG_END, begin) < 0:
                    raise _Damage("the JPEG file is truncated")
    except _Damage as damage:
        return str(damage)
    return None


def stored_size(content: bytes) -> tuple[int, int] | None:
    """The (height, width) of the pixels as an undamaged PNG or JPEG stores them; None for what is neither."""
    if content.startswith(_PNG_SIGNATURE):
        width, height = struct.unpack_from(">II", content, len(_PNG_SIGNATURE) + 8)
        return height, width
    if content.startswith(_JPEG_START):
        for marker, begin, _ in _jpeg_segments(content):
            if marker in _JPEG_FRAMES:
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
            for marker, begin, end in _jpeg_segments(content)
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
    """The kind of every chunk and where its data begin and end; up to IEND all must be there, with right checksums."""
    view = memoryview(content)
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        begin = position + 8
        kind = bytes(view[position + 4 : begin])
        end = begin + int.from_bytes(view[position : position + 4])
        if end + 4 > len(content):
            break
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise _Damage("the PNG file is damaged (a checksum is wrong)")
        yield kind, begin, end
        if kind == b"IEND":
            return
        position = end + 4
    raise _Damage("the PNG file is truncated")


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of every segment and where its data begin and end; the last one is the start of the scan."""
    position = len(_JPEG_START)
    while position + 4 <= len(content):
        marker = content[position + 1]
        if content[position] != 0xFF:
            raise _Damage("the JPEG file is damaged (no marker where one is due)")
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
            position += 2
        else:
            end = position + 2 + int.from_bytes(content[position + 2 : position + 4])
            yield marker, position + 4, end
            if marker == _JPEG_SCAN:
                return
            position = end
    raise _Damage("the JPEG file is truncated")
