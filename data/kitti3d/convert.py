"""KITTI's 3D boxes to pseudo labels as KINS json and KITTI's folders, which the KINS builder reads."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from amodal_jax import segmentation
from amodal_jax.config import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.segmentation import Rle
from amodal_jax.visible_files import visible_files
from data.all_problems import map_all
from data.image_files import checked_size
from data.kins.orders import clusters_and_orders
from data.kins.overlaps import box_ious
from data.kins.scenes import Scene, Written, split_scenes, write_scenes
from data.kins.writer import KinsAnnotation
from data.kitti3d.labels import CLASS_NAMES, Object3d, read_labels, read_projection
from data.kitti3d.projection import depth, ground_rectangle, project_template
from data.outputs import check_output_folder
from data.synthetic.footprints import nearest_first

INFO = {
    "description": "Pseudo labels in KINS' form: class-shaped templates in KITTI's 3D boxes, projected. No person has "
    "seen or corrected a mask.",
    "pseudo_labels": True,
}
"""What the written files say of themselves."""


@dataclass(frozen=True)
class PseudoInstance:
    """One object of a frame."""

    class_name: str
    amodal: Rle
    inmodal: Rle  # without a pixel where nearer objects hide all of it
    cluster_id: int
    occlusion_order: int
    type: str  # KITTI's
    occlusion: int  # KITTI's level
    box_iou: float  # of the inmodal mask's box with KITTI's own 2D box


@dataclass(frozen=True)
class Frame:
    """One image with its pseudo labels, nearest first."""

    image_id: int
    image_path: Path
    height: int  # pixels
    width: int
    instances: tuple[PseudoInstance, ...]
    outside: int  # objects of which no pixel lies in the image


@dataclass(frozen=True)
class Summary(Written):
    """What a conversion wrote."""

    outside: int
    box_ious: dict[tuple[str, int], list[float]] = field(repr=False)  # by KITTI's type and occlusion level


def read_frame(label_path: Path) -> Frame:
    """Makes the pseudo labels of one frame; `calib` and `image_2` lie beside the label's folder.

    Raises:
        DataError: a file that is missing or damaged; names it, and the line.
    """
    if not label_path.stem.isdigit():
        raise DataError(f"{label_path} is not named by a frame's number, as KITTI's label files are")
    folder = label_path.parent.parent
    objects = read_labels(label_path)
    projection = read_projection(folder / "calib" / label_path.name)
    image_path = folder / "image_2" / f"{label_path.stem}.png"
    height, width = checked_size(image_path)
    order = nearest_first(
        [ground_rectangle(box, projection) for box in objects], [depth(box, projection) for box in objects]
    )
    seen: list[tuple[Object3d, Rle, Rle]] = []
    taken = np.zeros((height, width), bool)
    for index in order:
        drawn = project_template(objects[index], projection, width, height)
        if drawn is None:
            continue
        amodal = np.zeros((height, width), bool)
        amodal[drawn.window()] = drawn.mask
        seen.append((objects[index], segmentation.encode(amodal), segmentation.encode(amodal & ~taken)))
        taken |= amodal
    # Their order here, not the distance of their middles, says which of two hides the other.
    clusters, orders = clusters_and_orders([amodal for _, amodal, _ in seen], range(len(seen)))
    instances = tuple(
        PseudoInstance(
            CLASS_NAMES[box.type], amodal, inmodal, cluster, order, box.type, box.occlusion, _box_iou(box, inmodal)
        )
        for (box, amodal, inmodal), cluster, order in zip(seen, clusters, orders, strict=True)
    )
    return Frame(int(label_path.stem), image_path, height, width, instances, len(objects) - len(seen))


def _box_iou(box: Object3d, inmodal: Rle) -> float:
    # KITTI's boxes name the first and last pixel, ours the edges.
    x1, y1, x2, y2 = box.box
    kitti = np.array([[x1, y1, x2 + 1, y2 + 1]], float)
    return float(box_ious(kitti, np.array([segmentation.bounding_box(inmodal)]))[0, 0])


def convert(
    source: Path,
    out: Path,
    *,
    test_fraction: float | None,
    link_images: bool = False,
    force: bool = False,
    workers: int = 1,
    progress: bool = True,
) -> Summary:
    """Writes pseudo labels of all frames of KITTI, whole or not at all.

    Args:
        source: KITTI's folder, which holds `training/label_2`, or `label_2` itself.
        out: the folder to write, as `scripts/build_dataset.py kins --manual-dir` reads it.
        test_fraction: the share of frames for the test split, as `split_scenes` takes it.
        link_images: make symbolic links instead of copies.
        force: write into a folder that is there already.
        workers: processes that draw.
        progress: show a bar with rate and time left.

    Raises:
        DataError: a file that is missing or damaged, a split that would be empty, or a folder that is there already.
    """
    check_output_folder(out, force=force)
    paths = visible_files(_label_folder(source), (".txt",))
    if not paths:
        raise DataError(f"{_label_folder(source)} holds no label files (000000.txt ...)")
    frames = map_all(
        read_frame, paths, source=source, description="project", unit="frame", workers=workers, progress=progress
    )
    ids = itertools.count(1)
    splits = split_scenes([_scene(frame, ids) for frame in frames], test_fraction)
    outside = sum(frame.outside for frame in frames)
    written = write_scenes(
        splits,
        out,
        KINS_CLASS_NAMES,
        source=source,
        flaws=[f"{outside} objects that lie outside their image"] if outside else [],
        test_fraction=test_fraction,
        link_images=link_images,
        force=force,
        info=INFO,
    )
    box_ious: dict[tuple[str, int], list[float]] = defaultdict(list)
    for frame in frames:
        for instance in frame.instances:
            box_ious[instance.type, instance.occlusion].append(instance.box_iou)
    return Summary(
        **vars(written),
        outside=outside,
        box_ious=dict(box_ious),
    )


def _label_folder(source: Path) -> Path:
    for folder in (source / "training" / "label_2", source / "label_2"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"{source} holds neither training/label_2 nor label_2: unpack KITTI's object detection labels there, and its "
        "calibration and left colour images beside them (calib, image_2)"
    )


def _scene(frame: Frame, ids: Iterator[int]) -> Scene:
    annotations = tuple(
        KinsAnnotation(
            next(ids),
            frame.image_id,
            one.class_name,
            one.amodal,
            one.inmodal,
            one.cluster_id,
            one.occlusion_order,
        )
        for one in frame.instances
    )
    return Scene(frame.image_id, frame.image_path, frame.height, frame.width, annotations)
