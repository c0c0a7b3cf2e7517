"""What a command that looks at annotations is pointed at: one json file, or the folder that a dataset is built from."""

from dataclasses import dataclass
from pathlib import Path

from data.kins.annotations import find_annotation_files
from data.kins.layout import IMAGE_FOLDERS


@dataclass(frozen=True)
class Source:
    """One annotation file."""

    name: str  # the split in a folder, the file's name without its ending otherwise
    path: Path
    image_folder: Path | None  # None: nothing says where its images lie


def find_sources(path: Path, image_folder: Path | None = None, release: str | None = None) -> list[Source]:
    """The annotation files that a path stands for.

    Args:
        path: a json file, or a folder as `scripts/build_dataset.py` takes it, whose splits both have to be there.
        image_folder: where the images of a json file lie.
        release: "2019" or "2020", where a folder has the files of both.

    Raises:
        DataError: a folder lacks an annotation file.
    """
    if path.is_dir():
        return [
            Source(split, file, path / IMAGE_FOLDERS[split])
            for split, file in find_annotation_files(path, release).items()
        ]
    return [Source(path.stem, path, image_folder)]
