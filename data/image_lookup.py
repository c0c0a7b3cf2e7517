"""Where the images of an annotation file lie: the one lookup of all that opens them, or files that are named alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.image_paths import ImagePaths, ends
from data.image_files import is_file


@dataclass(frozen=True)
class Lookup:
    """What was found of the images of a file, by their ids."""

    paths: dict[int, str]  # below the folder, of those that were found
    shared: dict[int, tuple[int, str]]  # of those whose file is another's as well: that one's id, and the file


def look_up(paths: Mapping[int, str], folder: Path) -> Lookup:
    """Looks for each image below a folder: as its path is written, then with ever fewer of its folders.

    An end of a path that other images' paths have too says nothing of whose file it is.

    Args:
        paths: of each image by its id, as `amodal_jax.image_paths.image_path` gives them.
        folder: that the paths begin in, or in one of the folders that they name.
    """
    of_all = ImagePaths(paths)
    found: dict[int, str] = {}
    shared: dict[int, tuple[int, str]] = {}
    for identifier, path in paths.items():
        for end in ends(path):
            if not is_file(folder / end):
                continue
            others = [other for other in of_all.ending(end) if other != identifier]
            if not others or (end == path and all(paths[other] != path for other in others)):
                found[identifier] = end
            else:
                shared[identifier] = (others[0], end)
            break
    return Lookup(found, shared)


def find_paths(paths: Mapping[int, str], folder: Path, where: str) -> dict[int, str]:
    """The paths below a folder of the images that are there, as `look_up` finds them, by their ids.

    Args:
        paths: of each image by its id.
        folder: to look in.
        where: the file that names the images, for messages.

    Raises:
        DataError: one file is that of two images; names both.
    """
    found = look_up(paths, folder)
    for identifier, (other, end) in found.shared.items():
        both = {one: path for one, path in paths.items() if one in (other, identifier)}
        raise two_of_one_file(where, both, folder / end)
    return found.paths


def two_of_one_file(where: str, paths: Mapping[int, str], file: Path) -> DataError:
    """The error that two images have one file.

    Args:
        where: the file that names the images.
        paths: of the two by their ids.
        file: that they have.
    """
    both = " and ".join(f"{identifier} ({path})" for identifier, path in paths.items())
    return DataError(
        f"{where}: the images {both} have one file, {file}: nothing says whose picture it is; put each where its "
        "file_name says, below the folder of images"
    )
