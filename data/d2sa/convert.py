"""D2S Amodal and COCOA-cls annotations to KINS json and KITTI's folders, which the KINS builder reads.

Both are COCO json files: `segmentation` and `bbox` are amodal, `visible_mask` and `invisible_mask` are the parts that
are seen and hidden, where something hides a part. They have no orders. Follmann, König, Härtinger, Klostermann and
Böttger, "Learning to See the Invisible: End-to-End Trainable Amodal Instance Segmentation", WACV 2019.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amodal_jax.errors import DataError
from amodal_jax.json_file import read_json
from data.all_problems import raise_all
from data.cocoa.annotation_files import is_of_split
from data.image_files import checked_size
from data.image_lookup import Lookup, look_up, two_of_one_file
from data.kins.annotations import AnnotationFile, ImageRecord, categories, read_annotation_file
from data.kins.derive import Derived, derive_file, derive_orders
from data.kins.layout import SPLITS
from data.kins.problems import ProblemCounts, describe
from data.kins.scenes import Scene, Written, split_scenes, write_scenes
from data.kins.writer import KinsAnnotation
from data.outputs import check_output_folder

FORM = "d2sa"


@dataclass(frozen=True)
class Summary(Written):
    """What a conversion wrote."""

    class_names: tuple[str, ...]
    read: tuple[Derived, ...]  # per file, with what was wrong and left open


def convert(
    sources: Sequence[Path],
    image_folders: Sequence[Path],
    out: Path,
    *,
    test_fraction: float | None = None,
    link_images: bool = False,
    force: bool = False,
    workers: int = 1,
    progress: bool = True,
) -> Summary:
    """Converts annotation files; category ids and the ids of images and annotations stay.

    Orders are found from the masks (`orders_of_masks`). Everything is read and checked before anything is written.

    Args:
        sources: the file of the training split and that of the test split; or one file, which is shared out.
        image_folders: where images are looked for, as `data.image_lookup` does. Where there are as many as sources, of
            a name that several hold the image in the source's own folder, by position, is taken.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: of one file, the share of images for the test split, as `split_scenes` takes it.
        link_images: make symbolic links instead of copies.
        force: write into a folder that is there already.
        workers: processes that read masks.
        progress: show a bar for each file.

    Raises:
        DataError: a file or image that cannot be used, an image of another size than its record says, a file of two
            images, a split that would be empty, or a folder that is there already.
    """
    check_output_folder(out, force=force)
    files = [_read(path) for path in sources]
    class_names = {name: identifier for identifier, name in categories(dict(zip(SPLITS, files, strict=False))).items()}
    read, scenes = [], []
    for index, file in enumerate(files):
        own = image_folders[index] if len(image_folders) == len(files) else None
        derived = derive_file(file, derive_orders, workers=workers, progress=progress)
        read.append(derived)
        scenes.append(_scenes(file, derived.annotations, image_folders, own))
    shared_out = len(scenes) == 1
    splits = split_scenes(scenes[0], test_fraction) if shared_out else dict(zip(SPLITS, scenes, strict=True))
    counts = ProblemCounts()
    for derived in read:
        counts.add(derived.problems)
    written = write_scenes(
        splits,
        out,
        class_names,
        source=sources[0],
        flaws=[describe(problem) for problem in counts.to_json()],
        test_fraction=test_fraction if shared_out else None,
        link_images=link_images,
        force=force,
    )
    return Summary(
        **vars(written),
        class_names=tuple(class_names),
        read=tuple(read),
    )


def _read(path: Path) -> AnnotationFile:
    try:
        file = read_annotation_file(path)
    except DataError:
        if is_of_split(read_json(path)):
            raise DataError(f"{path} is COCO-Amodal's, whose annotations have `regions`: from-cocoa reads it") from None
        raise
    if file.release != FORM:
        raise DataError(
            f"{path} has the form of KINS {file.release}, not that of D2SA with `segmentation` and `visible_mask`"
        )
    return file


def _scenes(
    file: AnnotationFile, annotations: Sequence[KinsAnnotation], image_folders: Sequence[Path], own: Path | None
) -> list[Scene]:
    by_image: dict[int, list[KinsAnnotation]] = {image.id: [] for image in file.images}
    for annotation in annotations:
        by_image[annotation.image_id].append(annotation)
    scenes, errors = [], []
    names = {image.id: image.file_name for image in file.images}
    found = {folder: look_up(names, folder) for folder in image_folders}
    for image in file.images:
        try:
            folder = _folder(file, image, found, own)
            name = found[folder].paths[image.id]
            size = checked_size(folder / name)
            if size != (image.height, image.width):
                raise DataError(
                    f"{folder / name}: has {size[0]} rows and {size[1]} columns, but {file.path} says {image.height} "
                    f"and {image.width} (image id {image.id}): its masks are of another image"
                )
        except DataError as error:
            errors.append(error)
            continue
        scenes.append(Scene(image.id, folder / name, *size, tuple(by_image[image.id]), name=name))
    raise_all(file.path, errors)
    return scenes


def _folder(file: AnnotationFile, image: ImageRecord, found: Mapping[Path, Lookup], own: Path | None) -> Path:
    """The only folder that has an image, or else the file's own."""
    having = [folder for folder, of_folder in found.items() if image.id in of_folder.paths]
    if own in having:
        return own
    if len(having) == 1:
        return having[0]
    for folder, of_folder in found.items():
        if not having and image.id in of_folder.shared:
            other, end = of_folder.shared[image.id]
            names = {one.id: one.file_name for one in file.images if one.id in (other, image.id)}
            raise two_of_one_file(str(file.path), names, folder / end)
    folders = ", ".join(str(folder) for folder in having or found)
    raise DataError(
        f"{image.file_name} (image id {image.id} of {file.path}) lies in "
        + (f"several of the folders of --images: {folders}; name one for each file" if having else f"none of {folders}")
    )
