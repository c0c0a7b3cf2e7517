"""Writes a folder with an html page of the images of a dataset, which needs nothing but a browser.

index.html           the page
index.js             what the filters need of every image
masks/NUMBER.js      the masks of a few dozen images each, which the page loads when these come into view
thumbnails/          small JPEG files, loaded likewise

Script files carry the data since a page that is opened from a disk may load no others.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amodal_jax.cli.progress import progress_bar
from amodal_jax.errors import DataError
from amodal_jax.files.atomic import make_folder, replacing
from amodal_jax.visualization.colours import PALETTE
from amodal_jax.visualization.pages import render
from data.browse.thumbnails import DrawnImage, ImageDrawer
from data.kins.annotations import AnnotationFile, categories, located
from data.kins.sources import Source
from data.shared.outputs import naming_output
from data.shared.worker_processes import ordered_map

IMAGES_PER_CHUNK = 40
_PAGE = Path(__file__).with_name("page.html")
# Starting processes costs seconds, which fewer images are not worth.
_IMAGES_WORTH_PROCESSES = 100


@dataclass(frozen=True)
class Browsable:
    """What a page was written of."""

    images: int
    instances: int
    without_picture: int  # whose file is missing, damaged, or in no known folder


def write_page(
    out: Path,
    title: str,
    files: Sequence[tuple[Source, AnnotationFile]],
    *,
    longest_side: int = 400,
    workers: int = 1,
    progress: bool = False,
) -> Browsable:
    """Writes the page, whole or not at all.

    Args:
        out: the folder, which is replaced if it holds such a page.
        title: of the page.
        files: annotation files with the same categories.
        longest_side: of the thumbnails, pixels.
        workers: processes, where there are images enough to be worth them.
        progress: draw a progress bar on stderr.

    Raises:
        DataError: `out` holds something else, the categories differ, or two images have one file.
    """
    if out.exists() and not is_page(out) and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} holds something else than a page of this command: name another place")
    classes = categories({source.name: file for source, file in files})
    # The builder's classes are without KINS' rider, of which no annotation is.
    indices = {category_id: index for index, category_id in enumerate(classes)}
    make_folder(out.absolute().parent)
    total = sum(len(file.images) for _, file in files)
    with replacing(out) as folder, naming_output(folder, out):
        for name in ("thumbnails", "masks"):
            (folder / name).mkdir(parents=True)
        drawn = _Drawn(folder)
        with (
            ordered_map(workers if total >= _IMAGES_WORTH_PROCESSES else 1, chunk_size=8) as map_in_order,
            progress_bar(total=total, description="images", unit="image", shown=progress) as bar,
        ):
            for split, (source, listed) in enumerate(files):
                file = located(listed, source.image_folder) if source.image_folder else listed
                draw = ImageDrawer(file.release, indices, source.image_folder, folder / "thumbnails", longest_side)
                for image in map_in_order(draw, list(enumerate(file.images, start=drawn.images))):
                    drawn.add(split, image)
                    bar.update()
        drawn.write_masks()
        index = {
            "classes": list(classes.values()),
            "splits": [source.name for source, _ in files],
            "chunk": IMAGES_PER_CHUNK,
            "images": drawn.index,
        }
        (folder / "index.js").write_text(f"const dataset = {_script(index)};\n", encoding="utf-8")
        page = render(_PAGE.name, folder=_PAGE.parent, title=title, palette=PALETTE.tolist())
        (folder / "index.html").write_text(page, encoding="utf-8")
    return Browsable(drawn.images, drawn.instances, drawn.without_picture)


def is_page(folder: Path) -> bool:
    """Whether a folder holds what `write_page` writes and nothing else."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} == {
        "index.html",
        "index.js",
        "masks",
        "thumbnails",
    }


class _Drawn:
    """Collects drawn images, and writes their masks as soon as a chunk of them is complete."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._masks: list[list[list[Any]]] = []
        self.index: list[list[Any]] = []
        self.instances = 0
        self.without_picture = 0

    @property
    def images(self) -> int:
        return len(self.index)

    def add(self, split: int, image: DrawnImage) -> None:
        # What the filters ask for: which classes are hidden by how much.
        kinds = sorted({(instance.class_index, instance.occlusion) for instance in image.instances})
        flat = [number for kind in kinds for number in kind]
        self.index.append(
            [image.file_name, split, image.width, image.height, int(image.has_picture), len(image.instances), flat]
        )
        self.instances += len(image.instances)
        self.without_picture += not image.has_picture
        self._masks.append([list(instance) for instance in image.instances])
        if len(self._masks) == IMAGES_PER_CHUNK:
            self.write_masks()

    def write_masks(self) -> None:
        if not self._masks:
            return
        number = (len(self.index) - 1) // IMAGES_PER_CHUNK
        text = f"addMasks({number}, {_script(self._masks)});\n"
        (self._folder / "masks" / f"{number}.js").write_text(text, encoding="utf-8")
        self._masks = []


def _script(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
