"""The input pipeline, from PNG records to batches of training, beside decoding the same images and nothing else."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from amodal_jax.cli.cores import usable_cores
from amodal_jax.input_pipeline.batches import training_batches
from scripts.benchmarks.measurement import Report, Work, clock, interleave
from scripts.benchmarks.options import Options
from scripts.benchmarks.records import build_records

HEIGHT, WIDTH = 375, 1242  # KITTI's usual image, for synthetic scenes


def measure(options: Options) -> Report:
    """Times a pass over `images` records."""
    with tempfile.TemporaryDirectory() as folder:
        directory, files = build_records(
            Path(folder), train=options.images, test=1, height=HEIGHT, width=WIDTH, image_folder=options.image_folder
        )
        data = dataclasses.replace(options.config.data, directory=directory)
        config = dataclasses.replace(options.config, data=data)
        steps = -(-options.images // options.batch_size)
        encoded = [path.read_bytes() for path in files[-options.images :]]
        # The iterators are made anew for each repetition: one that waits for its turn would decode ahead meanwhile.
        functions: dict[str, Work] = {
            "pipeline": lambda: _pass(training_batches(config, batch_size=options.batch_size), steps),
            "decoding alone": lambda: _pass(_decoded(encoded), steps * options.batch_size),
        }
        count = steps * options.batch_size
        measurements = interleave(functions, options.repeats, warm_up=0, count=count, unit="image")
    pipeline, alone = measurements
    facts = {f"{one.name}, images/s and core": 1 / one.median / usable_cores() for one in measurements}
    facts |= {f"{one.name}, images in a second of processor time": 1 / one.cpu_median for one in measurements}
    return Report(
        measurements,
        facts
        | {
            "pipeline / decoding alone": pipeline.median / alone.median,
            "pipeline / decoding alone, processor time": pipeline.cpu_median / alone.cpu_median,
            "bytes of an image": sum(map(len, encoded)) // len(encoded),
        },
    )


def _decoded(encoded: list[bytes]) -> Iterator[Any]:
    """The decoded images, again and again."""
    dataset = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    return dataset.map(
        lambda content: tf.io.decode_image(content, channels=3, expand_animations=False),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).as_numpy_iterator()


def _pass(iterator: Iterator[Any], length: int) -> tuple[float, float]:
    """Seconds and processor seconds of `length` items, after as many that fill buffers and let autotuning settle."""
    for _ in range(length):
        next(iterator)
    started = clock()
    for _ in range(length):
        next(iterator)
    ended = clock()
    return ended[0] - started[0], ended[1] - started[1]
