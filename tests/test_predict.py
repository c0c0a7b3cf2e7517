"""The predictor, on images of every size and with the real network."""

import dataclasses
import sys
from typing import get_args

import cv2
import jax
import numpy as np
import pytest

import amodal_jax
from amodal_jax.canvas import source_canvas
from amodal_jax.errors import ImageError
from amodal_jax.files.image_reader import read_image
from amodal_jax.masks.paste import paste_mask
from amodal_jax.network import build_network, initialise
from amodal_jax.predict import Predictor
from amodal_jax.structures import Detections, MaskPaste
from tests.helpers.micro import micro_config


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = micro_config()
    return Predictor(config, initialise(build_network(config), config, jax.random.key(0)))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(one: amodal_jax.Instances, other: amodal_jax.Instances) -> None:
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.occluded, other.occluded, atol=1e-5)
    assert np.mean(one.amodal_masks != other.amodal_masks) < 1e-3
    assert np.mean(one.inmodal_masks != other.inmodal_masks) < 1e-3


@pytest.mark.parametrize("paste", get_args(MaskPaste))
def test_masks_are_pasted_as_the_configuration_says(predictor, paste):
    evaluation = dataclasses.replace(predictor.config.evaluation, mask_paste=paste, mask_threshold=0.6)
    other = Predictor(dataclasses.replace(predictor.config, evaluation=evaluation), {})
    box = np.array([5.5, 7.25, 30.5, 40.0], np.float32)
    probability = np.random.default_rng(0).uniform(size=(1, 1, 28, 28)).astype(np.float32)
    found = Detections(
        boxes=box[None, None],
        scores=np.ones((1, 1), np.float32),
        labels=np.zeros((1, 1), np.int32),
        valid=np.ones((1, 1), bool),
        occluded=None,
        amodal_masks=None,
        inmodal_masks=probability,
    )
    (mask,) = other._instances(noise(60, 90), found).inmodal_masks
    np.testing.assert_array_equal(mask, paste_mask(probability[0, 0], box, (60, 90), 0.6, paste))
    (at_centres, as_torchvision) = (
        paste_mask(probability[0, 0], box, (60, 90), 0.6, one) for one in get_args(MaskPaste)
    )
    assert (at_centres != as_torchvision).any()


def test_instances_are_as_documented(predictor):
    image = noise(60, 90)
    before = image.copy()
    instances = predictor(image)
    count = len(instances)
    assert 0 < count <= predictor.config.evaluation.max_detections
    for value, shape, dtype in (
        (instances.boxes, (count, 4), np.float32),
        (instances.scores, (count,), np.float32),
        (instances.labels, (count,), np.int32),
        (instances.occluded, (count,), np.float32),
        (instances.amodal_masks, (count, 60, 90), bool),
        (instances.inmodal_masks, (count, 60, 90), bool),
    ):
        assert (value.shape, value.dtype) == (shape, dtype)
    assert np.all(np.diff(instances.scores) <= 0)
    assert np.all((instances.labels >= 0) & (instances.labels < len(instances.class_names)))
    assert instances.class_names == predictor.config.model.class_names
    assert np.all(instances.boxes >= 0)
    assert np.all(instances.boxes[:, 2] <= 90)
    assert np.all(instances.boxes[:, 3] <= 60)
    np.testing.assert_array_equal(image, before)


def test_a_list_gives_what_its_images_give(predictor):
    images = [noise(60, 90, 1), noise(64, 96, 2), noise(58, 91, 3)]
    together = predictor(images)
    assert len(together) == 3
    for image, found in zip(images, together, strict=True):
        assert_same(found, predictor(image))
    assert predictor([]) == []


def test_images_of_nearly_one_size_share_a_compilation(predictor):
    for height, width in ((60, 90), (64, 96), (57, 85)):
        predictor(noise(height, width))
    assert len(predictor._compiled) == 1
    (compiled,) = predictor._compiled.values()
    assert compiled._cache_size() == 1


def test_the_canvas_of_an_image_does_not_matter(predictor):
    """On a larger canvas of its own, an image has the objects that it has on the dataset's."""
    config = predictor.config
    data = dataclasses.replace(config.data, canvas_height=32, canvas_width=32)
    other = Predictor(dataclasses.replace(config, data=data), predictor._variables)
    image = noise(60, 90, 4)
    assert source_canvas((60, 90), config) == (64, 96)
    assert source_canvas((60, 90), other.config) == (128, 128)
    assert_same(other(image), predictor(image))


def test_an_image_that_fits_no_canvas(predictor):
    instances = predictor(noise(200, 150))  # upright, and larger than any canvas of the configuration
    assert instances.amodal_masks.shape[1:] == (200, 150)
    assert np.all(instances.boxes[:, 2] <= 150)
    assert np.all(instances.boxes[:, 3] <= 200)
    assert instances.boxes[:, 3].max() > 100


def test_objects_of_a_kitti_frame_are_in_its_pixels(predictor, sample_data):
    image = read_image(sample_data / "kitti" / "image_2" / "000008.png")
    small = cv2.resize(image, (96, 60), interpolation=cv2.INTER_AREA)
    for picture in (small, np.ascontiguousarray(small[:, ::-1])):
        instances = predictor(picture)
        assert instances.amodal_masks.shape[1:] == (60, 96)
        for box, mask in zip(instances.boxes, instances.amodal_masks, strict=True):
            rows, columns = np.nonzero(mask)
            if len(rows):  # a pasted mask reaches at most a cell and a pixel over its box
                margin_x, margin_y = (box[2:] - box[:2]) / 28 + 2
                assert columns.min() >= box[0] - margin_x
                assert columns.max() <= box[2] + margin_x
                assert rows.min() >= box[1] - margin_y
                assert rows.max() <= box[3] + margin_y


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 6), np.uint8), "grey.*three channels"),
        (np.zeros((5, 6, 1), np.uint8), "grey"),
        (np.zeros((5, 6, 4), np.uint8), "alpha"),
        (np.zeros((5, 6, 2), np.uint8), r"\(5, 6, 2\)"),
        (np.zeros((2, 5, 6, 3), np.uint8), "list"),
        (np.zeros((5, 6, 3), np.float32), "float32.*uint8"),
        (np.zeros((5, 6, 3), np.uint16), "uint16"),
        (np.zeros((0, 6, 3), np.uint8), "no pixels"),
        ("street.png", "path.*read_image"),
        (None, "NoneType.*NumPy array"),
    ],
)
def test_what_is_no_rgb_image_is_refused_with_the_way_out(predictor, image, message):
    with pytest.raises(ImageError, match=f"the image .*{message}"):
        predictor(image)
    with pytest.raises(ImageError, match=f"image 1 of the list .*{message}"):
        predictor([noise(60, 90), image])


def test_the_predictor_needs_neither_tensorflow_nor_pytorch():
    import subprocess

    code = "import sys, amodal_jax; amodal_jax.Predictor; print({'tensorflow', 'torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
