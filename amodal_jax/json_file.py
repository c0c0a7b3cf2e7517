"""Json files of other people's making, read so that whatever is wrong with one is an error that names it."""

import json
from pathlib import Path
from typing import Any

from amodal_jax.errors import DataError
from amodal_jax.text_file import read_text

_SHOWN = 60


def read_json(path: Path) -> Any:
    """Reads a json file.

    A key that an object has twice is an error: which of the two was meant nobody knows. NaN and Infinity, which are no
    json but what many programs write, become floats: they are judged where they are used, and most are in fields that
    nobody reads.

    Raises:
        DataError: the file is missing, cannot be read, is no text (`text_file.read_text`), cut off, no json, nested too
            deeply, or has a key twice.
    """
    content = read_text(path)
    try:
        return json.loads(content, object_pairs_hook=_object)
    except _RepeatedKeyError as error:
        raise DataError(f"{path}: an object has the key {shorten(error.args[0])} twice; leave one") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no complete json file ({error}); write or copy it again") from None


def shorten(value: Any) -> str:
    """A value from a json file as it may stand in a message."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(list(value)[:8])}"
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "a list nested too deeply"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


class _RepeatedKeyError(Exception):
    """Holds the key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return made
