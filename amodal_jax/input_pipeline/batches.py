"""From the records of a built dataset to `Batch`es, with tf.data: beside `records` the only module with TensorFlow.

Shape shorthand: B images of this process's batch, H x W canvas of native pixels, G ground-truth slots, n objects of an
image. Records hold boxes as TFDS' normalised [y1, x1, y2, x2]; they become [x1, y1, x2, y2] in pixels here, once.

Training reads an endless stream of examples: position p of it is the (p mod size)-th of the permutation that the seed
and the epoch p // size give. A global batch is a run of positions, cut into equal parts for the processes. The stream
is thus the same whatever the number of processes and devices, every epoch is a full shuffle, and the position alone is
all that has to be saved for a run to go on exactly where it was.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from amodal_jax.config import Config, DataConfig
from amodal_jax.errors import DataError, first_line
from amodal_jax.files.text import read_text
from amodal_jax.input_pipeline.records import (
    REPORT_FILE,
    SKIP_IMAGE,
    TF_ERRORS,
    Records,
    open_builder,
)
from amodal_jax.records import PACKED_CROP_SHAPE
from amodal_jax.structures import Batch, GroundTruth

# The byte with the bits of its index in reverse order: a packed row is mirrored by this and a reversal of its bytes.
_MIRRORED_BYTES = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]


def check_split(config: Config, split: str) -> None:
    """Opens a split of the dataset at `config.data.directory` as for batches of it, and closes it again.

    Raises:
      DataError: there is no such dataset or split, the split is empty, or it is known to hold what a batch has no room
        for: a larger image than the canvas, or more objects in one than there are slots.
    """
    _open(config, split)


def training_batches(
    config: Config, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> "TrainingBatches":
    """This process's part of the endless, shuffled stream of training batches; see `TrainingBatches`.

    Args:
      config: its `data` section and `train.seed` are read.
      batch_size: images in this process's part of a global batch.
      process_index: which part of each global batch this process takes.
      process_count: the number of parts.

    Raises:
      DataError: the dataset or the split is missing, damaged or empty, or see `check_split`.
    """
    return TrainingBatches(config, batch_size, process_index, process_count)


def evaluation_batches(
    config: Config, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """The images of the test split in the order of the records, each exactly once over all processes.

    Every process gets the same number of batches. What fills them up at the end has `valid` false (and repeats the last
    image). Arguments and errors are those of `training_batches`.
    """
    records = _open(config, config.data.test_split)
    size = len(records)
    global_size = batch_size * process_count
    batch_count = -(-size // global_size)

    def example(position):
        return np.minimum(position, size - 1), position < size

    positions = _positions(0, batch_count, batch_size, process_index, process_count)
    return _batches(records, config, positions, example, batch_size, flip_seed=None)


class TrainingBatches:
    """An endless iterator of training batches whose position can be saved and restored.

    Each image is mirrored with probability one half where `config.data.flip` says so, which the seed and its position
    in the stream decide.
    """

    def __init__(self, config: Config, batch_size: int, process_index: int, process_count: int):
        self._config = config
        self._batch_size = batch_size
        self._process_index = process_index
        self._process_count = process_count
        self._records = _open(config, config.data.train_split)
        self._consumed = 0
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> "TrainingBatches":
        return self

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._start()
        batch = next(self._batches)
        self._consumed += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """What `set_state` needs to go on after the batches that were taken: small, the same on every process."""
        return {"batches": self._consumed, "images": len(self._records)}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to where `get_state` was called; nothing that was passed is read again.

        Raises:
          DataError: the split has another number of images now.
        """
        if state["images"] != len(self._records):
            raise DataError(
                f"{self._records}: the run that is resumed was trained on {state['images']} images, "
                f"but the split has {len(self._records)} now; start a new run"
            )
        self._consumed = state["batches"]
        self._batches = None

    def _start(self) -> Iterator[Batch]:
        seed = self._config.train.seed
        size = len(self._records)

        def example(position):
            epoch, index = divmod(int(position), size)
            return _permutation(seed, epoch, size)[index], np.True_

        positions = _positions(self._consumed, None, self._batch_size, self._process_index, self._process_count)
        flip_seed = seed if self._config.data.flip else None
        return _batches(self._records, self._config, positions, example, self._batch_size, flip_seed)


@functools.lru_cache(maxsize=2)  # the workers are in two epochs at once around the end of one
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


def _positions(
    first_batch: int, batch_count: int | None, batch_size: int, process_index: int, process_count: int
) -> tf.data.Dataset:
    """The positions in the stream of this process's examples, from a global batch on."""
    last_batch = np.iinfo(np.int64).max // (batch_size * process_count) if batch_count is None else batch_count
    return tf.data.Dataset.range(first_batch, last_batch).flat_map(
        lambda batch: tf.data.Dataset.range(batch_size).map(
            lambda index: (batch * process_count + process_index) * batch_size + index
        )
    )


def _batches(records, config, positions, example, batch_size, flip_seed) -> Iterator[Batch]:
    """Reads, decodes and batches the examples at the positions of the stream.

    Args:
      records: of the split.
      config: its `data` section is read.
      positions: a dataset of int64.
      example: gives the index of a record and whether it is valid (not filling up) for a position.
      batch_size: of this process.
      flip_seed: for random flips; None for none.
    """
    data = config.data

    def place(position):
        index, valid = example(position)
        return np.int64(index), np.bool_(valid)

    def parse(position):
        index, valid = tf.numpy_function(place, [position], (tf.int64, tf.bool), stateful=False)
        index.set_shape([])
        valid.set_shape([])
        flip = tf.constant(False)
        if flip_seed is not None:
            flip = tf.random.stateless_uniform([], seed=tf.stack([tf.cast(flip_seed, tf.int64), position])) < 0.5
        return _parse(records.features, records.read(index), flip, data) | {"valid": valid}

    dataset = positions.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(2)
    options = tf.data.Options()
    options.autotune.ram_budget = 2 << 30
    dataset = dataset.with_options(options)
    iterator = dataset.as_numpy_iterator()
    while True:
        try:
            fields = next(iterator)
        except StopIteration:
            return
        except TF_ERRORS as error:
            raise records.explain(error) from error
        _check(fields, records, data)
        yield Batch(
            images=fields["image"],
            sizes=fields["size"],
            image_ids=fields["image_id"],
            valid=fields["valid"],
            truth=GroundTruth(
                boxes=fields["boxes"],
                labels=fields["labels"],
                occlusion_ratio=fields["occlusion_ratio"],
                amodal_crops=fields["amodal_crops"],
                inmodal_crops=fields["inmodal_crops"],
                cluster=fields["cluster"],
                order=fields["order"],
                valid=(np.arange(data.max_instances) < fields["count"][:, None]) & ~fields["crowd"],
                crowd=fields["crowd"],
            ),
        )


def _parse(features, serialized, flip, data) -> dict[str, tf.Tensor]:
    """One example, padded to the sizes of a batch; what does not fit is cut here and refused by `_check`."""
    record = features.deserialize_example(serialized, decoders=SKIP_IMAGE)
    image = tf.io.decode_image(record["image"], channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    objects = record["objects"]
    y1, x1, y2, x2 = tf.unstack(objects["amodal_bbox"], axis=1)
    scale_x, scale_y = tf.cast(width, tf.float32), tf.cast(height, tf.float32)
    x1, x2, y1, y2 = x1 * scale_x, x2 * scale_x, y1 * scale_y, y2 * scale_y
    crops = {name: objects[name] for name in ("amodal_crop", "inmodal_crop")}
    # Ids are of 64 bits, of which a device keeps 32: their first places in the image tell clusters apart as well.
    cluster = tf.where(objects["cluster_id"] < 0, -1, tf.unique(objects["cluster_id"]).idx)
    mirrored = tf.constant(_MIRRORED_BYTES)
    image = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)
    x1, x2 = tf.cond(flip, lambda: (scale_x - x2, scale_x - x1), lambda: (x1, x2))
    crops = {
        name: tf.cond(
            flip,
            lambda crop=crop: tf.reverse(tf.gather(mirrored, tf.cast(crop, tf.int32)), [2]),
            lambda crop=crop: crop,
        )
        for name, crop in crops.items()
    }
    image = image[: data.canvas_height, : data.canvas_width]
    shape = tf.shape(image)
    image = tf.pad(image, [[0, data.canvas_height - shape[0]], [0, data.canvas_width - shape[1]], [0, 0]])
    image.set_shape([data.canvas_height, data.canvas_width, 3])

    def slots(value, *shape, empty=0):
        value = value[: data.max_instances]
        padding = [[0, data.max_instances - tf.shape(value)[0]]] + [[0, 0]] * len(shape)
        value = tf.pad(value, padding, constant_values=empty)
        value.set_shape([data.max_instances, *shape])
        return value

    return {
        "image": image,
        "image_id": record["image/id"],
        "size": tf.stack([height, width]),
        "boxes": slots(tf.stack([x1, y1, x2, y2], axis=1), 4),
        "labels": slots(tf.cast(objects["label"], tf.int32)),
        "occlusion_ratio": slots(objects["occlusion_ratio"]),
        "amodal_crops": slots(crops["amodal_crop"], *PACKED_CROP_SHAPE),
        "inmodal_crops": slots(crops["inmodal_crop"], *PACKED_CROP_SHAPE),
        "cluster": slots(cluster, empty=-1),
        "order": slots(tf.saturate_cast(objects["occlusion_order"], tf.int32), empty=-1),
        "crowd": slots(objects["is_crowd"]),
        "count": tf.shape(objects["label"])[0],
    }


def _check(fields: dict[str, np.ndarray], records: "Records", data: DataConfig) -> None:
    """Refuses images and object counts that a batch has no room for."""
    sizes = (fields[name].tolist() for name in ("image_id", "size", "count"))
    for image_id, (height, width), count in zip(*sizes, strict=True):
        image = f"{records}: image {image_id} has"
        _check_room(data, height, width, f"{image} {height} x {width} pixels", count, f"{image} {count} objects")


def _check_room(data: DataConfig, height: int, width: int, size: str, objects: int, count: str) -> None:
    """Refuses a size or a number of objects that a batch has no room for; `size` and `count` begin what is said."""
    if height > data.canvas_height or width > data.canvas_width:
        raise DataError(
            f"{size}, more than the canvas of {data.canvas_height} x {data.canvas_width}; "
            "raise data.canvas_height and data.canvas_width"
        )
    if objects > data.max_instances:
        raise DataError(f"{count}, more than the {data.max_instances} slots; raise data.max_instances")


def _open(config: Config, split: str) -> "Records":
    """The records of a split for batches, where its largest image and number of objects are known to fit in one.

    Datasets of older builders do not say them, and none does for a part of a split: `_check` refuses what comes by.
    """
    builder, data = open_builder(config), config.data
    records = Records(builder, split)
    report = Path(builder.data_path) / REPORT_FILE
    try:
        splits = json.loads(read_text(report))["splits"] if report.is_file() else {}
        largest = splits.get(split, {}).get("largest", {"height": 0, "width": 0, "objects": 0})
        height, width, objects = (int(largest[name]) for name in ("height", "width", "objects"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{report}: is damaged ({first_line(error)}); build the dataset again") from error
    size = f"{records}: the images reach {height} pixels in height and {width} in width"
    _check_room(data, height, width, size, objects, f"{records}: an image has {objects} objects")
    return records
