"""A tiny network learns two noise-free images by heart; what it then finds in them is what it was taught.

One chain of real parts, from the training step to the predictor: an error that both would share is for the tests of the
parts to find.
"""

import dataclasses

import jax
import numpy as np
import pytest

from amodal_jax.build import build_detector, initialise
from amodal_jax.config import DataConfig, EvaluationConfig, RoIConfig, TrainConfig
from amodal_jax.mask_crops import crop_mask, pack_crop
from amodal_jax.optimizer import make_optimizer
from amodal_jax.predict import Predictor
from amodal_jax.structures import Batch, GroundTruth
from amodal_jax.train import create_state, parallel_train_step
from tests.micro import micro_config

CANVAS = (96, 144)  # half as large again as the network's input
SLOTS = 4


@dataclasses.dataclass(frozen=True)
class Taught:
    """An object: what is to be found."""

    label: int
    amodal: np.ndarray
    inmodal: np.ndarray

    @property
    def box(self):
        rows, columns = np.nonzero(self.amodal)
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)

    @property
    def hidden(self):
        return 1 - self.inmodal.sum() / self.amodal.sum()


def draw(size, shapes):
    """An image and its objects from (label, colour, mask of rows and columns), nearest first."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.full((*size, 3), 40, np.uint8)
    objects, taken = [], np.zeros(size, bool)
    for label, colour, shape in shapes:
        amodal = shape(y, x)
        image[amodal & ~taken] = colour
        objects.append(Taught(label, amodal, amodal & ~taken))
        taken |= amodal
    return image, objects


def rectangle(x1, y1, x2, y2):
    return lambda y, x: (x > x1) & (x < x2) & (y > y1) & (y < y2)


def ellipse(x1, y1, x2, y2):
    return lambda y, x: ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1


def scenes():
    """In each, one object hides about a third of another, and a third stands alone; sizes and classes differ."""
    yield draw(
        (96, 144),
        [
            (2, (220, 60, 60), ellipse(40, 30, 80, 86)),
            (6, (60, 200, 60), rectangle(14, 20, 62, 66)),
            (0, (80, 80, 240), rectangle(100, 40, 130, 70)),
        ],
    )
    yield draw(
        (90, 132),
        [
            (5, (230, 220, 60), rectangle(64, 30, 116, 62)),
            (3, (60, 210, 220), rectangle(84, 10, 110, 82)),
            (1, (230, 90, 230), ellipse(8, 20, 52, 60)),
        ],
    )


def make_batch(images):
    batch = Batch(
        images=np.zeros((len(images), *CANVAS, 3), np.uint8),
        sizes=np.array([image.shape[:2] for image, _ in images], np.int32),
        image_ids=np.arange(len(images), dtype=np.int32),
        valid=np.ones(len(images), bool),
        truth=GroundTruth(
            boxes=np.zeros((len(images), SLOTS, 4), np.float32),
            labels=np.zeros((len(images), SLOTS), np.int32),
            occlusion_ratio=np.zeros((len(images), SLOTS), np.float32),
            amodal_crops=np.zeros((len(images), SLOTS, 112, 14), np.uint8),
            inmodal_crops=np.zeros((len(images), SLOTS, 112, 14), np.uint8),
            valid=np.zeros((len(images), SLOTS), bool),
            crowd=np.zeros((len(images), SLOTS), bool),
        ),
    )
    for index, (image, objects) in enumerate(images):
        batch.images[index, : image.shape[0], : image.shape[1]] = image
        for slot, one in enumerate(objects):
            batch.truth.boxes[index, slot] = one.box
            batch.truth.labels[index, slot] = one.label
            batch.truth.occlusion_ratio[index, slot] = one.hidden
            batch.truth.amodal_crops[index, slot] = pack_crop(crop_mask(one.amodal, one.box))
            batch.truth.inmodal_crops[index, slot] = pack_crop(crop_mask(one.inmodal, one.box))
            batch.truth.valid[index, slot] = True
    return batch


CONFIG = dataclasses.replace(
    micro_config(roi=RoIConfig(batch_size=32)),
    data=DataConfig(canvas_height=CANVAS[0], canvas_width=CANVAS[1], max_instances=SLOTS),
    train=TrainConfig(
        steps=200,
        batch_size=2,
        optimizer="adamw",
        learning_rate=5e-3,
        weight_decay=0.0,
        gradient_clip=5.0,
        schedule="cosine",
        warmup_steps=20,
    ),
    evaluation=EvaluationConfig(max_detections=16),
)


@pytest.fixture(scope="module")
def learnt():
    """The images with their objects, and the parameters that have seen them two hundred times."""
    images = list(scenes())
    detector, optimizer = build_detector(CONFIG), make_optimizer(CONFIG.train)
    state = create_state(initialise(detector, CONFIG, jax.random.key(0)), optimizer)
    step = parallel_train_step(detector, optimizer, CONFIG, devices=jax.devices()[:1])
    batch = jax.tree.map(lambda leaf: leaf[None], make_batch(images))
    for _ in range(CONFIG.train.steps):
        state, _ = step(state, batch, np.zeros(1, np.int32))
    return images, state.variables


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def box_mask(box, size):
    return rectangle(*box)(*(np.mgrid[: size[0], : size[1]] + 0.5))


@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
def test_what_was_learnt_by_heart_is_found(learnt, compute_dtype):
    """Parameters that were trained in float32 serve in bfloat16, too."""
    images, variables = learnt
    model = dataclasses.replace(CONFIG.model, compute_dtype=compute_dtype)
    predictor = Predictor(dataclasses.replace(CONFIG, model=model), variables)
    for image, objects in images:
        found = predictor(image)
        sure = found.scores > 0.5
        assert sorted(found.labels[sure]) == sorted(one.label for one in objects)
        for one in objects:
            (place,) = np.flatnonzero(sure & (found.labels == one.label))
            box = box_mask(found.boxes[place], one.amodal.shape)
            assert overlap(box, box_mask(one.box, one.amodal.shape)) > 0.8
            assert (found.occluded[place] > 0.5) == (one.hidden > 0.05)
            assert overlap(found.amodal_masks[place], one.amodal) > 0.8
            assert overlap(found.inmodal_masks[place], one.inmodal) > 0.8
