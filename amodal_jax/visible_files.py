"""The files of a folder that people have put there."""

from collections.abc import Collection
from pathlib import Path


def visible_files(folder: Path, endings: Collection[str], *, in_folders: bool = False) -> list[Path]:
    """The files of a folder with one of the endings, sorted; none where there is no folder.

    Hidden files and folders are passed over, for programs have made them: macOS leaves a `._NAME.jpg` beside each
    `NAME.jpg` on disks that are not its own.

    Args:
      folder: where to look.
      endings: as `.jpg`, in lower case; those of the files may have any.
      in_folders: look in the folders below it, too.

    Raises:
      OSError: the folder may not be read.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in (folder.rglob("*") if in_folders else folder.iterdir())
        if path.suffix.lower() in endings
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
