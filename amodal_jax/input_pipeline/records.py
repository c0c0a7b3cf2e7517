"""The records of a built dataset, in full fidelity: opened, checked, read by their place.

TFRecord files have no index; one is made by reading the records' headers when a split is opened, which takes a few
milliseconds for a thousand records. Records hold boxes as TFDS' normalised [y1, x1, y2, x2].
"""

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from amodal_jax.config import Config
from amodal_jax.errors import DataError, first_line
from amodal_jax.masks import segmentation

REPORT_FILE = "annotation_report.json"  # of our builder
# TFRecord's framing of a record: its length and a checksum of it before, a checksum of its bytes after.
_LENGTH = struct.Struct("<Q")
_HEADER_BYTES = 12
_FOOTER_BYTES = 4
# The second where TensorFlow fails to make a message of the bytes it could not parse.
TF_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
BUILD_AGAIN = "build it again with scripts/build_dataset.py and --overwrite"
# What only a dataset of this kind has.
_FEATURES = {"image", "image/id", "image/filename", "image/height", "image/width", "objects"}
SKIP_IMAGE = {"image": tfds.decode.SkipDecoding()}
PIXELS = ("image", "amodal_crop", "inmodal_crop")  # nearly all of a record's bytes


def dataset_categories(config: Config) -> dict[int, str]:
    """The classes of the dataset at `config.data.directory` in the order of its labels, names by category id.

    The ids are those of the annotation files that the dataset was built from.

    Raises:
      DataError: there is no such dataset, or it does not say its category ids.
    """
    builder = open_builder(config)
    names = builder.info.features["objects"]["label"].names
    ids = (builder.info.metadata or {}).get("category_ids", ())
    if len(ids) != len(names):
        raise DataError(
            f"{builder.data_path}: does not say the category ids of its annotation files, as it was built before they "
            f"were kept; {BUILD_AGAIN}"
        )
    return dict(zip(ids, names, strict=True))


def split_size(config: Config, split: str) -> int:
    """The number of images of a split of the dataset at `config.data.directory`.

    Raises:
      DataError: there is no such dataset or split, or the split is empty.
    """
    return len(Records(open_builder(config), split))


def evaluation_records(
    config: Config, indices: Sequence[int] | None = None, *, with_pixels: bool = True
) -> Iterator[dict[str, Any]]:
    """The test split's records in full fidelity, in the order of `evaluation_batches`, images left undecoded.

    Args:
      config: its `data` section is read.
      indices: which records, by their place in that order; None: all. No other is read.
      with_pixels: False leaves out `image` and the crops, which are nearly all of the bytes.

    Yields:
      Dictionaries of NumPy values with the features' names: `image` (the file's bytes), `image/id`, `image/filename`
      (bytes), `image/height`, `image/width`, and `objects`, a dictionary of arrays with one row an object: `id`,
      `label`, `amodal_bbox` and `inmodal_bbox` (xyxy in pixels here), `amodal_rle` and `inmodal_rle` (COCO's compressed
      counts, bytes), `occlusion_ratio`, `cluster_id`, `occlusion_order`, `is_crowd` and the bit-packed crops.

    Raises:
      DataError: as `training_batches`.
    """
    records = Records(open_builder(config), config.data.test_split)
    features = records.features
    if not with_pixels:
        wanted: dict[str, Any] = {name: name not in PIXELS for name in features}
        wanted["objects"] = {name: name not in PIXELS for name in features["objects"].feature}
        features = tfds.decode.PartialDecoding(wanted).extract_features(features)
    for record in records.undecoded(range(len(records)) if indices is None else indices, features):
        scale = np.array([record["image/width"], record["image/height"]] * 2, np.float32)
        objects = record["objects"]
        boxes = {name: objects[name][:, [1, 0, 3, 2]] * scale for name in ("amodal_bbox", "inmodal_bbox")}
        masks = {name: _sound_counts(record, name, records) for name in ("amodal_rle", "inmodal_rle")}
        yield record | {"objects": objects | boxes | masks}


def _sound_counts(record: dict[str, Any], name: str, records: "Records") -> np.ndarray:
    """The counts of an image's masks as they are safe to work with, whichever version wrote the records."""
    height, width = int(record["image/height"]), int(record["image/width"])
    sound = []
    for counts in record["objects"][name].tolist():
        rle = segmentation.parse({"size": [height, width], "counts": counts}, height, width).rle
        if rle is None:
            raise DataError(f"{records}: image {record['image/id']} has a mask that does not fill it; {BUILD_AGAIN}")
        sound.append(rle["counts"].encode("ascii"))
    return np.array(sound, dtype=object)


def open_builder(config: Config) -> tfds.core.DatasetBuilder:
    """Opens the newest version of the built dataset at `config.data.directory`.

    From here on TensorFlow leaves the GPUs to JAX, unless the process has had it compute before.

    Raises:
      DataError: there is no such dataset, or it is damaged or of another kind.
    """
    _leave_gpus_to_jax()
    directory = Path(config.data.directory).expanduser()
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such dataset; build it with scripts/build_dataset.py, or name it in data.directory"
        )
    if not (directory / "dataset_info.json").is_file():
        versions = [
            path
            for path in directory.iterdir()
            if tfds.core.Version.is_valid(path.name) and (path / "dataset_info.json").is_file()
        ]
        if not versions:
            raise DataError(
                f"{directory}: holds no built dataset (no dataset_info.json in it or in a version's folder); "
                "name the folder that scripts/build_dataset.py said it built"
            )
        directory = max(versions, key=lambda path: tfds.core.Version(path.name))
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # of as many kinds as there are files in which something can be wrong
        raise DataError(f"{directory}: is no whole dataset ({first_line(error)}); {BUILD_AGAIN}") from error
    missing = sorted(_FEATURES - set(builder.info.features or ()))
    if missing or builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        lacks = f"its records have no {', '.join(missing)}" if missing else "its records are in no TFRecord files"
        raise DataError(f"{directory}: is a dataset of another kind ({lacks}); build it with scripts/build_dataset.py")
    return builder


def _leave_gpus_to_jax() -> None:
    """Keeps a TensorFlow that knows GPUs from taking their memory, nearly all of it, as it reads its first record."""
    with contextlib.suppress(RuntimeError):  # it has taken what it was going to take
        tf.config.set_visible_devices([], "GPU")


class Records:
    """The serialized records of a split, by their number."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self.features = builder.info.features
        self._name = f"{builder.data_path}, split {split}"
        try:
            instructions = builder.info.splits[split].file_instructions
        except (KeyError, ValueError) as error:
            known = ", ".join(builder.info.splits) or "none"
            raise DataError(f"{self._name}: no such split; there are: {known}") from error
        files: list[str] = []
        places: list[tuple[int, int]] = []  # of each record: its file's number, and where in the file it begins
        for number, instruction in enumerate(instructions):
            path = str(instruction.filename)
            try:
                starts = _scan(path)
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror}); {BUILD_AGAIN}") from error
            if len(starts) < instruction.examples_in_shard:
                raise DataError(
                    f"{path}: is cut off after {len(starts)} of {instruction.examples_in_shard} records; "
                    f"copy it again, or {BUILD_AGAIN}"
                )
            files.append(path)
            places += [(number, start) for start in starts[instruction.skip :][: instruction.take]]
        if not places:
            raise DataError(f"{self._name}: the split is empty")
        self._count = len(places)
        self._files = tf.constant(files)
        self._places = tf.constant(places, tf.int64)

    def __len__(self) -> int:
        return self._count

    def __str__(self) -> str:
        return self._name

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """The serialized record with this number, within a function of tf.data; its checksums are verified."""
        place = self._places[index]
        # `tf.data.TFRecordDataset`, whose own signature lacks the place to begin at.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=self._files[place[0], None],
            compression_type="",
            buffer_size=tf.constant(0, tf.int64),
            byte_offsets=place[1, None],
        )
        return tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string)).take(1).get_single_element()

    def undecoded(
        self, indices: Sequence[int], features: tfds.features.FeatureConnector | None = None
    ) -> Iterator[dict[str, Any]]:
        """The records with these numbers as nested dictionaries of NumPy values; an image is its file's bytes.

        Args:
          indices: of the records.
          features: the part of the records' features to parse; None: all.

        Raises:
          DataError: a record is damaged; names its number.
        """
        features = features or self.features
        decoders = {name: decoder for name, decoder in SKIP_IMAGE.items() if name in features}
        dataset = tf.data.Dataset.from_tensor_slices(np.array(indices, np.int64)).map(
            lambda index: features.deserialize_example(self.read(index), decoders=decoders),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        records = dataset.as_numpy_iterator()
        for index in indices:
            try:
                record = next(records)
            except TF_ERRORS as error:
                raise DataError(f"{self}: record {index} cannot be decoded; {BUILD_AGAIN}") from error
            yield record

    def explain(self, error: Exception) -> DataError:
        """Finds the first record or image that cannot be decoded, which tf.data's errors do not name."""
        try:
            for record in self.undecoded(range(len(self))):
                name = f"{self}: image {record['image/id']} ({record['image/filename'].decode()})"
                tf.io.decode_image(record["image"], channels=3, expand_animations=False)
        except DataError as damaged:
            return damaged
        except TF_ERRORS:
            return DataError(f"{name} cannot be decoded; mend the file, then {BUILD_AGAIN}")
        return DataError(f"{self}: {first_line(error)}")


def _scan(path: str) -> list[int]:
    """Where in a TFRecord file each whole record begins."""
    starts = []
    size = os.path.getsize(path)
    with open(path, "rb", buffering=0) as file:
        end = 0  # of the last record
        while end + _HEADER_BYTES <= size:
            start = end
            (length,) = _LENGTH.unpack(os.pread(file.fileno(), _LENGTH.size, start))
            end = start + _HEADER_BYTES + length + _FOOTER_BYTES
            if end <= size:
                starts.append(start)
    return starts
