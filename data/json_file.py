"""Json files that hold an object, as every annotation format has it at its top, and what stands in them."""

from pathlib import Path
from typing import Any

from amodal_jax.errors import DataError
from amodal_jax.json_file import read_json, shorten
from amodal_jax.json_values import whole_number


def read_json_object(path: Path) -> dict:
    """Reads a json file as `amodal_jax.json_file.read_json` does.

    Raises:
        DataError: the file cannot be read or is no json, or holds something else than an object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no json object, but {shorten(content)}")
    return content


def integer(entry: dict[str, Any], key: str, where: str) -> int:
    """The whole number under a key, as `amodal_jax.json_values.whole_number` reads it.

    Raises:
        DataError: there is none, or it needs more than 64 bits; the message begins with `where`.
    """
    value = entry.get(key)
    number = whole_number(value)
    if number is not None:
        return number
    if isinstance(value, int) and not isinstance(value, bool):
        raise DataError(f"{where} has {shorten(value)} under '{key}', which needs more than 64 bits; renumber the file")
    raise DataError(f"{where} has no whole number under '{key}'" + (f", but {shorten(value)}" if key in entry else ""))


def name(entry: dict[str, Any], key: str) -> str | None:
    """The text under a key, with single spaces and none at its ends; None where there is none that can be printed.

    What cannot be printed steers terminals or has no encoding: control characters, halves of surrogate pairs.
    """
    value = entry.get(key)
    if not isinstance(value, str):
        return None
    plain = " ".join(value.split())
    return plain if plain and plain.isprintable() else None
