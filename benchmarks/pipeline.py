"""The input pipeline, from PNG records to batches of training, beside decoding the same images and nothing else."""

import dataclasses
import tempfile
from pathlib import Path

import tensorflow as tf

from amodal_jax.input_pipeline import training_batches
from benchmarks.machine import cores
from benchmarks.measurement import Report, Work, interleave
from benchmarks.options import Options
from benchmarks.records import build_records

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
        batches = training_batches(config, batch_size=options.batch_size)
        encoded = [path.read_bytes() for path in files[-options.images :]]
        decoded = tf.data.Dataset.from_tensor_slices(encoded).repeat()
        decoded = decoded.map(
            lambda content: tf.io.decode_image(content, channels=3, expand_animations=False),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).as_numpy_iterator()

        def run_pipeline() -> None:
            for _ in range(steps):
                next(batches)

        def decode() -> None:
            for _ in range(steps * options.batch_size):
                next(decoded)

        functions: dict[str, Work] = {"pipeline": run_pipeline, "decoding alone": decode}
        # What autotuning settles on takes a pass or two to be found.
        measurements = interleave(functions, options.repeats, warm_up=2, count=steps * options.batch_size, unit="image")
    pipeline, alone = measurements
    facts = {f"{one.name}, images/s and core": 1 / one.median / cores() for one in measurements}
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
