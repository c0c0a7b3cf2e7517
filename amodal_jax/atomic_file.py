"""Files that are either whole or not there, and the folders they are written to."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file, replacing one that is there, so that no reader and no failure ever sees a part of it.

    Raises:
      OSError: the disk is full or the folder cannot be written; names `path`. What was there before is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with naming(path):
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, if need be: before long work whose result shall lie in it.

    Raises:
      OSError: it cannot be made, or not be written; names `path`.
    """
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives the OSErrors of the block the name of `path`: those of a write to a full disk have none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
