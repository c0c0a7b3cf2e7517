"""Files and folders that are either whole or not there, and the folders they are written to."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file, replacing one that is there, so that no reader and no failure ever sees a part of it.

    Raises:
      OSError: the disk is full or the folder cannot be written; names `path`. What was there before is still there.
    """
    with naming(path), replacing(path) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to make a file, link or folder in, which takes the place of `path` when the block ends well.

    Otherwise it vanishes, and what was at `path` before is still there. The folder of `path` has to be there.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True) as workshop:
        new, old = Path(workshop) / "new", Path(workshop) / "old"
        yield new
        try:
            if path.is_dir() and not path.is_symlink():
                os.replace(path, old)  # only a folder that is empty can be replaced at one go
            os.replace(new, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
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
