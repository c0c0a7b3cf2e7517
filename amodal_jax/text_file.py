"""Text files of other people's making: the one place that decides which characters the bytes of one stand for.

Text is UTF-8. What Windows' programs make of it is read too: a byte order mark, and UTF-16 and UTF-32 with theirs. No
other encoding says of itself which one it is, so that none is guessed: a file in one is refused, and told so.
"""

import codecs
from pathlib import Path

from amodal_jax.errors import DataError

# The mark of UTF-32 begins with that of UTF-16, and comes first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, *, errors: str = "strict") -> str:
    """Reads a text file, without its byte order mark; the ends of its lines stay as they are.

    Args:
      path: the file.
      errors: "strict", or "replace" for what a reader of damaged files makes the best of, where a byte that stands for
        no character becomes U+FFFD.

    Raises:
      DataError: the file is missing, cannot be read, or is no text; says what to do about it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    encoding = _encoding(content)
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {_flaw(content, error)}") from None
    if errors == "strict" and "\0" in text:
        raise DataError(f"{path}: is no text, for it has null characters; write or copy it again")
    return text


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    # UTF-16 without its mark, where the first character is one of ASCII's, as it is in all that is read here but names.
    if len(content) > 1 and bool(content[0]) != bool(content[1]):
        return "utf-16-le" if content[0] else "utf-16-be"
    return "utf-8"


def _flaw(content: bytes, error: UnicodeDecodeError) -> str:
    if error.end == len(content) and error.reason in ("unexpected end of data", "truncated data"):
        return "ends within a character, as what is cut off does; write or copy it again"
    line = content.count(b"\n", 0, error.start) + 1
    name = "UTF-8" if error.encoding == "utf-8" else error.encoding.upper()
    return f"is not {name} (byte 0x{content[error.start]:02x} in line {line}); save it as UTF-8"
