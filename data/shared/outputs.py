"""Places that commands write to: what is there already is kept unless the user says otherwise.

The checks come before any work, so that nobody waits for a result that has no place.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.files.atomic import make_folder, replacing


def check_output_files(*paths: Path | None, force: bool) -> None:
    """Stops where files cannot be written, or may not be.

    Args:
        paths: of each file; None for one that is not asked for.
        force: files that are there may be written over. Folders never are.

    Raises:
        DataError: a path is a folder, or there already, or two of them are the same.
        OSError: the folder that it would lie in cannot be made or written.
    """
    named = [path for path in paths if path is not None]
    for index, path in enumerate(named):
        if path.is_dir():
            raise DataError(f"{path} is a folder: name a file")
        if path.resolve() in [other.resolve() for other in named[:index]]:
            raise DataError(f"{path} is named for two outputs: name a file for each")
        if path.exists() and not force:
            raise _there_already(path)
        _check_place(path)


def check_output_folder(path: Path, *, force: bool) -> None:
    """Stops where a folder cannot be written, or may not be.

    Args:
        path: of the folder.
        force: it may be there already, with something in it.

    Raises:
        DataError: it is a file, or there already and not empty.
        OSError: it, or the folder that it would lie in, cannot be made or written.
    """
    if path.is_dir():
        if not force and any(path.iterdir()):
            raise _there_already(path)
        _check_place(path / "file")
    elif path.exists():
        raise DataError(f"{path} is a file: name a folder")
    else:
        _check_place(path)


@contextlib.contextmanager
def output_files(*paths: Path) -> Iterator[list[Path]]:
    """Places to write files in, which become `paths`, all of them whole, when the block ends well; otherwise none does.

    They are for paths that have passed `check_output_files`.
    """
    with contextlib.ExitStack() as stack:
        places: list[Path] = []
        for path in paths:
            make_folder(path.absolute().parent)
            places.append(stack.enter_context(replacing(path)))
            stack.enter_context(naming_output(places[-1], path))
        yield places


@contextlib.contextmanager
def output_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write in, which becomes `out`, whole or not at all, when the block ends well.

    Where `out` is there already and `force` is given it is `out` itself: files are written over one by one, and those
    of other names stay.

    Raises:
        DataError: `out` is there already, and not empty, and `force` is not given.
    """
    check_output_folder(out, force=force)
    if out.is_dir() and any(out.iterdir()):
        yield out
        return
    make_folder(out.absolute().parent)
    with replacing(out) as folder, naming_output(folder, out):
        folder.mkdir()
        yield folder


@contextlib.contextmanager
def naming_output(place: Path, path: Path) -> Iterator[None]:
    """Gives the OSErrors of writing at `place`, such as those of a full disk, the name of `path`, which it will be."""
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename
        if name is not None and not Path(os.fsdecode(name)).is_relative_to(place):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _there_already(path: Path) -> DataError:
    return DataError(f"{path} is there already: name another place, or give --force to write over it")


def _check_place(path: Path) -> None:
    """Raises the OSError that making `path` would end in, as far as its folder says so."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    for number, ends in ((errno.ENOTDIR, not folder.is_dir()), (errno.EACCES, not os.access(folder, os.W_OK))):
        if ends:
            raise OSError(number, os.strerror(number), str(folder))
