"""The paths by which files call images: with either system's separators, from folders that other machines have not.

What two paths of one image have in common is their end, in whole names: `/data/kitti/cam1/000001.png` and
`cam1/000001.png`. The shorter the end, the more images have it.
"""

import re
from collections.abc import Iterator, Mapping

_SEPARATORS = re.compile(r"[/\\]")


def image_path(written: str) -> str:
    """A path with `/` between its names, without drive, root and whatever leads out of a folder and into it again."""
    names = [
        name for name in _SEPARATORS.split(written) if name not in ("", ".") and not re.fullmatch("[A-Za-z]:", name)
    ]
    while ".." in names:
        del names[: names.index("..") + 1]
    return "/".join(names)


def ends(path: str) -> Iterator[str]:
    """The path itself, then ever fewer of its folders, at last its name alone."""
    names = path.split("/")
    return ("/".join(names[first:]) for first in range(len(names)))


class ImagePaths:
    """Images by the ends of their paths."""

    def __init__(self, paths: Mapping[int, str]):
        """Takes the path of each image, as `image_path` gives it, by the image's id."""
        self._paths = paths
        self._by_end: dict[str, list[int]] = {}
        for identifier, path in paths.items():
            for end in ends(path):
                self._by_end.setdefault(end, []).append(identifier)

    def ending(self, end: str) -> list[int]:
        """The ids of the images whose path has this end."""
        return self._by_end.get(end, [])

    def named(self, written: str) -> list[int]:
        """The ids of the images that a path, however written, can mean: those that share the longest end with it.

        Of several the one whose whole path that end is, where there is one.
        """
        for end in ends(image_path(written)):
            if found := self.ending(end):
                return [identifier for identifier in found if self._paths[identifier] == end] or found
        return []
