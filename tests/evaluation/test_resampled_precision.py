"""AP of resampled images: COCOeval's own where every image counts once, and that of the images written out as often."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance
from amodal_jax.evaluation.metrics import run_coco_eval
from amodal_jax.evaluation.resampled_precision import ResampledPrecision

SIZE = (40, 60)
IMAGES = 4


def random_scene(seed: int):
    """Boxes of two classes in a few images and detections more or less beside them; equal scores in different images.

    Of two with equal scores in one image it would be chance which copy of the image comes first.
    """
    rng = np.random.default_rng(seed)
    instances, found = [], []
    for image in range(IMAGES):
        scores = iter(rng.permutation(12) / 12)
        for _ in range(rng.integers(0, 5)):
            x, y, width, height = (int(v) for v in rng.integers((0, 0, 5, 5), (30, 20, 25, 18)))
            category, crowd = int(rng.integers(1, 3)), bool(rng.random() < 0.1)
            mask = np.zeros(SIZE, np.uint8, order="F")
            mask[y : y + height, x : x + width] = 1
            rle = coco_mask.encode(mask)
            rle["counts"] = rle["counts"].decode()
            instances.append(
                AnnotatedInstance(image, category, tuple(map(float, (x, y, width, height))), rle, rle, 0.0, crowd)
            )
            for _ in range(rng.integers(0, 3)):
                shift = rng.integers(-3, 4, 2)
                found.append(
                    {
                        "image_id": image,
                        "category_id": category if rng.random() < 0.8 else 3 - category,
                        "bbox": [float(x + shift[0]), float(y + shift[1]), float(width), float(height)],
                        "score": float(next(scores)),
                    }
                )
    truth = AnnotatedImages(dict.fromkeys(range(IMAGES), SIZE), {1: "car", 2: "tram"}, instances)
    return truth, found


def written_out(truth: AnnotatedImages, found: list, counts):
    """The test set that a sample is: each image as often as it counts, under ids of its own."""
    copies = [(image, copy) for image in range(IMAGES) for copy in range(counts[image])]
    new = {pair: number for number, pair in enumerate(copies)}
    instances = [
        dataclasses.replace(instance, image_id=new[instance.image_id, copy])
        for instance in truth.instances
        for copy in range(counts[instance.image_id])
    ]
    results = [
        one | {"image_id": new[one["image_id"], copy]} for one in found for copy in range(counts[one["image_id"]])
    ]
    return AnnotatedImages(dict.fromkeys(new.values(), SIZE), truth.categories, instances), results


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=IMAGES, max_size=IMAGES))
def test_it_is_coco_s_figure_of_the_images_written_out(seed, counts):
    truth, found = random_scene(seed)
    precision = ResampledPrecision(run_coco_eval(truth, found, "det"))
    (once,) = precision(np.ones((1, IMAGES), int))
    expected = run_coco_eval(truth, found, "det").stats[0]
    assert once == pytest.approx(expected, abs=1e-12) or (np.isnan(once) and expected == -1)

    sample, results = written_out(truth, found, counts)
    (value,) = precision(np.array([counts]))
    if not sample.image_sizes:
        assert np.isnan(value)
        return
    expected = run_coco_eval(sample, results, "det").stats[0]
    assert value == pytest.approx(expected, abs=1e-12) or (np.isnan(value) and expected == -1)


def test_samples_are_independent_of_each_other():
    truth, found = random_scene(3)
    precision = ResampledPrecision(run_coco_eval(truth, found, "det"))
    counts = np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 150)
    one_by_one = [precision(counts[index : index + 1])[0] for index in range(150)]
    np.testing.assert_array_equal(precision(counts), one_by_one)
    assert len({value for value in one_by_one if not np.isnan(value)}) > 5
