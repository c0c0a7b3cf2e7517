"""Places that commands write to: what is there already is kept unless the user says otherwise."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from amodal_jax.atomic_file import make_folder, replacing
from amodal_jax.errors import DataError


def refuse_existing(path: Path, *, force: bool) -> None:
    """Stops, before anything is written, where a file or a folder that is not empty is in the way.

    Raises:
        DataError: there is one, and `force` is not given.
    """
    if force or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise DataError(f"{path} is there already: name another place, or give --force to write over it")


@contextlib.contextmanager
def output_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write in, which becomes `out`, whole or not at all, when the block ends well.

    Where `out` is there already and `force` is given it is `out` itself: files are written over one by one, and those
    of other names stay.

    Raises:
        DataError: `out` is there already, and not empty, and `force` is not given.
    """
    refuse_existing(out, force=force)
    if out.is_dir() and any(out.iterdir()):
        yield out
        return
    make_folder(out.parent)
    with replacing(out) as folder:
        folder.mkdir()
        yield folder
