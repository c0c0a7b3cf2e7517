"""Places that commands write to: what is there already is kept unless the user says otherwise."""

from pathlib import Path

from amodal_jax.errors import DataError


def refuse_existing(path: Path, *, force: bool) -> None:
    """Stops before anything is written where a file, or a folder that is not empty, is in the way.

    Raises:
        DataError: there is one, and `force` is not given; or it is a folder where a file is to be written over it.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise DataError(f"{path} is there already: name another place, or give --force to write over it")
