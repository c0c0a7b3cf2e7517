"""Images that another data set brings, divided into splits and put into KITTI's folders."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from amodal_jax.atomic_file import replacing

_Image = TypeVar("_Image")


def split_by_hash(images: Sequence[_Image], ids: Sequence[int], test_fraction: float) -> dict[str, list[_Image]]:
    """Divides images by a hash of their ids, so that the same id is in the same split whatever stands before it.

    Args:
        images: N of them.
        ids: theirs.
        test_fraction: share of the test split, 0..1.
    """
    hashed = sorted(ids, key=lambda identifier: hashlib.sha256(str(identifier).encode()).digest())
    test_ids = set(hashed[: round(len(ids) * test_fraction)])
    pairs = list(zip(images, ids, strict=True))
    return {
        "train": [image for image, identifier in pairs if identifier not in test_ids],
        "test": [image for image, identifier in pairs if identifier in test_ids],
    }


def place_image(source: Path, destination: Path, link: bool) -> None:
    """Copies an image, or makes a symbolic link to it."""
    with replacing(destination) as new:
        if link:
            new.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, new)
