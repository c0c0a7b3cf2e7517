"""A json file that holds an object, as every annotation format has it at its top."""

import json
from pathlib import Path

from amodal_jax.errors import DataError


def read_json_object(path: Path) -> dict:
    """Reads a json file.

    Raises:
        DataError: the file is missing, cannot be read, is cut off, no json, nested too deeply, or holds something else
            than an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no complete json file ({error}): fetch it again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no json object")
    return content
