"""The TFDS builder of KINS and of every dataset written as KINS json."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

# `tfds build` imports this file as `kins.kins_dataset_builder` and knows nothing of the folder above.
if str(Path(__file__).parents[2]) not in sys.path:
    sys.path.append(str(Path(__file__).parents[2]))

from amodal_jax.crop_shape import PACKED_CROP_SHAPE
from amodal_jax.errors import DataError
from amodal_jax.progress import progress_bar
from data.kins import problems
from data.kins.annotations import (
    AnnotationFile,
    categories,
    check_images_exist,
    find_annotation_files,
    located,
    read_annotation_file,
)
from data.kins.layout import IMAGE_FOLDERS, INSTRUCTIONS, SPLITS
from data.kins.records import RecordMaker
from data.worker_processes import ordered_map

REPORT_FILE = "annotation_report.json"

# Starting processes costs seconds, which fewer images are not worth.
_IMAGES_WORTH_PROCESSES = 200


class Builder(tfds.core.GeneratorBasedBuilder):
    """Images with amodal and inmodal masks, occlusion ratios and orders.

    The annotations are read from `manual_dir`; `data/kins/layout.py` says what lies where. Class names are those of the
    annotation files' categories and are saved with the dataset as the names of the feature `objects/label`, their
    category ids, in the same order, as `category_ids` of its metadata. The folder of the built dataset also holds
    `annotation_report.json`: what it was built from, how many images and instances it has, its largest height, width
    and number of objects of an image, and what was wrong with the annotations.
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "Initial release.",
        "1.1.0": "The metadata holds the category ids. Images that are stored turned are refused.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

    def __init__(
        self,
        *,
        release: str | None = None,
        strict: bool = False,
        progress: bool = False,
        workers: int = 1,
        **builder_arguments: Any,
    ):
        """Sets what differs from a plain build.

        Args:
            release: "2019" or "2020", where the files of both are there; None takes 2020.
            strict: raise a `DataError` when there is any problem in the annotations.
            progress: draw a progress bar for each split.
            workers: processes that read masks, where there are images enough to be worth them.
            **builder_arguments: of `tfds.core.GeneratorBasedBuilder`.
        """
        self._release = release
        self._strict = strict
        self._progress = progress
        self._workers = workers
        self._report: dict[str, Any] = {}
        super().__init__(**builder_arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        crop = tfds.features.Tensor(shape=PACKED_CROP_SHAPE, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
        return self.dataset_info_from_configs(
            homepage="https://github.com/qqlu/Amodal-Instance-Segmentation-through-KINS-Dataset",
            license="KITTI's images: CC BY-NC-SA 3.0. KINS' annotations: see its homepage; research use.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(doc="the file's own bytes"),
                    "image/id": tfds.features.Scalar(np.int64),
                    "image/filename": tfds.features.Text(),
                    "image/height": tfds.features.Scalar(np.int32),
                    "image/width": tfds.features.Scalar(np.int32),
                    "objects": tfds.features.Sequence(
                        {
                            "id": tfds.features.Scalar(np.int64),
                            "label": tfds.features.ClassLabel(),
                            "amodal_bbox": tfds.features.BBoxFeature(),
                            "inmodal_bbox": tfds.features.BBoxFeature(doc="zeros where nothing is visible"),
                            "amodal_rle": tfds.features.Text(doc="COCO compressed counts"),
                            "inmodal_rle": tfds.features.Text(doc="COCO compressed counts"),
                            "amodal_crop": crop,
                            "inmodal_crop": crop,
                            "occlusion_ratio": tfds.features.Scalar(np.float32, doc="invisible area / amodal area"),
                            "cluster_id": tfds.features.Scalar(np.int64, doc="-1 where the file has none"),
                            "occlusion_order": tfds.features.Scalar(np.int64, doc="-1 where the file has none"),
                            "is_crowd": tfds.features.Scalar(np.bool_),
                        }
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        try:
            manual_dir = Path(dl_manager.manual_dir)
        except AssertionError as error:
            raise DataError(str(error)) from None
        paths = find_annotation_files(manual_dir, self._release)
        folders = {split: manual_dir / IMAGE_FOLDERS[split] for split in SPLITS}
        files = {split: located(read_annotation_file(paths[split]), folders[split]) for split in SPLITS}
        for split in SPLITS:
            check_images_exist(files[split], folders[split])
        classes = categories(files)
        self.info.features["objects"]["label"].names = list(classes.values())
        self.info.metadata["category_ids"] = list(classes)
        self._report = {
            "annotation_files": {
                split: {"name": file.path.name, "sha256": file.sha256, "release": file.release}
                for split, file in files.items()
            },
            "class_names": list(classes.values()),
            "splits": {},
        }
        return {split: self._generate_examples(split, file, folders[split], classes) for split, file in files.items()}

    def _generate_examples(
        self, split: str, file: AnnotationFile, image_folder: Path, classes: dict[int, str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        counts = problems.ProblemCounts()
        counts.add(file.problems)
        labels = {category_id: label for label, category_id in enumerate(classes)}
        make_record = RecordMaker(file.release, labels, image_folder)
        workers = self._workers if len(file.images) >= _IMAGES_WORTH_PROCESSES else 1
        instances = 0
        largest = {"height": 0, "width": 0, "objects": 0}
        with (
            ordered_map(workers, chunk_size=8) as map_in_order,
            progress_bar(total=len(file.images), description=split, unit="image", shown=self._progress) as bar,
        ):
            for image, (record, found) in zip(file.images, map_in_order(make_record, file.images), strict=True):
                counts.add(found)
                instances += len(record["objects"])
                sizes = {
                    "height": record["image/height"],
                    "width": record["image/width"],
                    "objects": len(record["objects"]),
                }
                largest = {name: max(largest[name], size) for name, size in sizes.items()}
                yield image.id, {"image": image_folder / image.file_name, **record}
                bar.update()
            bar.set_postfix_str("writing records")
        if not instances:
            raise problems.nothing_left(file.path, counts)
        self._report["splits"][split] = {
            "images": len(file.images),
            "instances": instances,
            "instances_left_out": counts.left_out(),
            "largest": largest,
            "problems": counts.to_json(),
        }
        for problem in counts.to_json():
            logging.warning("%s: %s", split, problems.describe(problem))
        if self._strict and counts.counts:
            raise DataError(
                f"{file.path} has problems and --strict was given: "
                + "; ".join(map(problems.describe, counts.to_json()))
            )
        # TFDS has set data_path to the unfinished folder, which it moves to its place when all splits are written.
        (self.data_path / REPORT_FILE).write_text(json.dumps(self._report, indent=2) + "\n")
