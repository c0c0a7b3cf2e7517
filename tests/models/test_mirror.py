"""Flip at test, against NumPy's mirror images and loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.config import Config, EvaluationConfig, ModelConfig
from amodal_jax.config_json import from_json, to_json
from amodal_jax.errors import ConfigError
from amodal_jax.models import mirror
from amodal_jax.models.networks import NetworkConfig
from amodal_jax.network import build_network, initialise
from amodal_jax.ops import boxes as box_ops
from amodal_jax.structures import NetworkInput, Proposals, SelectedBoxes
from tests.helpers.micro import CANVAS, loud, micro_config

SIZES = np.array([[64, 96], [60, 80]], np.int32)  # (height, width), resized by 1 and by 16 / 15
SIZES_OF_VIEWS = jnp.concatenate([SIZES, SIZES])


def with_evaluation(config, **changes):
    return dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, **changes))


CONFIG = with_evaluation(micro_config(), max_detections=40)


@pytest.fixture(scope="module")
def variables():
    return loud(initialise(build_network(CONFIG), CONFIG, jax.random.key(0)))


@pytest.fixture(scope="module")
def images():
    """Smooth noise on its canvas."""
    canvas = np.zeros((2, *CANVAS, 3), np.uint8)
    noises = np.random.default_rng(0).random((2, 16, 24, 3))
    for image, (height, width), noise in zip(canvas, SIZES, noises, strict=True):
        image[:height, :width] = (255 * np.kron(noise, np.ones((4, 4, 1))))[:height, :width]
    return canvas


def mirrored(canvas):
    """Each image within its own size."""
    other = np.zeros_like(canvas)
    for image, source, (height, width) in zip(other, canvas, SIZES, strict=True):
        image[:height, :width] = source[:height, :width][:, ::-1]
    return other


def mirrored_boxes(boxes, width):
    """[n, 4] in NumPy."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def detect(config, variables, images):
    network = build_network(config)
    found = jax.jit(lambda *inputs: network.apply(variables, *inputs, method="detect"))(images, SIZES)
    return jax.tree.map(np.asarray, found)


# ----- its parts


def test_views_are_the_images_and_each_in_its_own_mirror():
    pixels = np.random.default_rng(0).normal(size=(2, *CANVAS, 3)).astype(np.float32)
    for image, (height, width) in zip(pixels, SIZES, strict=True):
        image[height:], image[:, width:] = 0, 0
    inputs = NetworkInput(*map(jnp.asarray, (pixels, SIZES, 2 * SIZES)), truth=None)
    views = mirror.with_mirror_images(inputs)
    np.testing.assert_array_equal(views.pixels, np.concatenate([pixels, mirrored(pixels)]))
    np.testing.assert_array_equal(views.sizes, np.concatenate([SIZES, SIZES]))
    np.testing.assert_array_equal(views.source_sizes, 2 * np.concatenate([SIZES, SIZES]))


@given(st.integers(0, 2**31 - 1))
def test_united_proposals_decode_to_the_mirrored_boxes_of_their_view(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (4, 5, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 30, (4, 5, 2))], axis=-1).astype(np.float32)
    proposals = Proposals(*map(jnp.asarray, (boxes, rng.normal(size=(4, 5)), rng.random((4, 5)) < 0.5)))
    logits, deltas = (jnp.asarray(rng.normal(size=(4, 5, 3, *more)), jnp.float32) for more in ((), (4,)))
    united_logits, united_deltas, united, image_sizes = mirror.unite(logits, deltas, proposals, SIZES_OF_VIEWS)

    def decoded(some_boxes, some_deltas):
        return np.asarray(box_ops.decode(some_deltas, some_boxes[..., None, :], weights=(10.0, 10.0, 5.0, 5.0)))

    found, of_views = decoded(united.boxes, united_deltas), decoded(proposals.boxes, deltas)
    np.testing.assert_array_equal(image_sizes, SIZES)
    for image, (_, width) in enumerate(SIZES):
        pairs = ((united_logits, logits), (united.scores, proposals.scores), (united.valid, proposals.valid))
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours[image], np.concatenate([theirs[image], theirs[2 + image]]))
        np.testing.assert_array_equal(found[image, :5], of_views[image])
        back = mirrored_boxes(of_views[2 + image].reshape(-1, 4), width).reshape(5, 3, 4)
        np.testing.assert_allclose(found[image, 5:], back, atol=1e-3)


def test_boxes_are_looked_at_where_they_lie_in_each_view():
    boxes = np.random.default_rng(0).uniform(0, 60, (2, 7, 4)).astype(np.float32)
    labels = np.arange(14).reshape(2, 7)
    selected = SelectedBoxes(*map(jnp.asarray, (boxes, np.ones((2, 7)), labels, labels % 2 == 0)))
    views = mirror.in_both_views(selected, SIZES_OF_VIEWS)
    for image, (_, width) in enumerate(SIZES):
        np.testing.assert_array_equal(views.boxes[image], boxes[image])
        np.testing.assert_allclose(views.boxes[2 + image], mirrored_boxes(boxes[image], width), atol=1e-5)
        for view in (image, 2 + image):
            np.testing.assert_array_equal(views.labels[view], selected.labels[image])
            np.testing.assert_array_equal(views.valid[view], selected.valid[image])


def test_probabilities_are_averaged_in_the_frame_of_the_image():
    rng = np.random.default_rng(0)
    occluded, masks = rng.random((4, 3)), rng.random((4, 3, 5, 5))
    mean_occluded, means = mirror.average(jnp.asarray(occluded), {"amodal": jnp.asarray(masks)})
    assert mean_occluded.shape == (2, 3)
    for image in range(2):
        for slot in range(3):
            assert mean_occluded[image, slot] == pytest.approx((occluded[image, slot] + occluded[2 + image, slot]) / 2)
            for row in range(5):
                for column in range(5):
                    other = masks[2 + image, slot, row, 4 - column]
                    expected = (masks[image, slot, row, column] + other) / 2
                    assert means["amodal"][image, slot, row, column] == pytest.approx(expected)
    assert mirror.average(None, {}) == (None, {})


# ----- what comes of them


def greedy_nms(boxes, scores, threshold):
    """The places of the boxes that are kept, best first, by a loop."""
    kept: list[int] = []
    for place in np.argsort(-scores, kind="stable"):
        box = boxes[place]
        for other in boxes[kept]:
            overlap = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            shared = max(overlap[0], 0) * max(overlap[1], 0)
            union = sum((one[2] - one[0]) * (one[3] - one[1]) for one in (box, other)) - shared
            if shared / union > threshold:
                break
        else:
            kept.append(place)
    return kept


def test_detections_are_those_of_the_published_steps(variables, images):
    """Each view by itself through a network that knows nothing of flips; the rest in NumPy."""
    network, weights = build_network(CONFIG), CONFIG.model.roi.box_weights

    def look(self, view_images):
        inputs = self.preprocess(view_images, jnp.asarray(SIZES))
        levels, scores = self.features(inputs)
        proposals = self.rpn.propose(scores, inputs.sizes, train=False)
        hidden, _ = self.boxes.box_head(self.pooling(levels, proposals.boxes, self.pooling.config.box_size))
        logits, deltas = self.boxes.box_predictor(hidden)
        shape = proposals.valid.shape
        class_boxes = box_ops.decode(deltas.reshape(*shape, -1, 4), proposals.boxes[:, :, None], weights=weights)
        return inputs, levels, proposals, jax.nn.softmax(logits).reshape(*shape, -1), class_boxes

    look_at = jax.jit(lambda one: network.apply(variables, one, method=look))
    second_pass = jax.jit(lambda *given: network.apply(variables, *given, method="second_pass"))
    views = [look_at(images), look_at(mirrored(images))]
    found = detect(with_evaluation(CONFIG, flip=True), variables, images)
    slots = CONFIG.evaluation.max_detections
    expected = []
    for image in range(2):
        height, width = np.asarray(views[0][0].sizes[image])
        objects = []
        for label in range(1, CONFIG.model.classes):
            boxes, scores = [], []
            for view, (_, _, proposals, probabilities, class_boxes) in enumerate(views):
                valid = np.asarray(proposals.valid[image])
                of_class = np.asarray(class_boxes[image, :, label])[valid]
                of_class = np.clip(of_class, 0, [width, height, width, height])
                boxes.append(mirrored_boxes(of_class, width) if view else of_class)
                scores.append(np.asarray(probabilities[image, :, label])[valid])
            boxes, scores = np.concatenate(boxes), np.concatenate(scores)
            thick = (boxes[:, 2:] - boxes[:, :2] >= 0.01).all(axis=1)
            boxes, scores = boxes[thick], scores[thick]
            kept = greedy_nms(boxes, scores, CONFIG.evaluation.nms_threshold)
            objects += [(scores[place], label - 1, boxes[place]) for place in kept]
        best = sorted(objects, key=lambda one: -one[0])[:slots]
        expected.append(best)
        assert len(best) == slots
        np.testing.assert_array_equal(found.labels[image], [label for _, label, _ in best])
        np.testing.assert_allclose(found.scores[image], [score for score, _, _ in best], atol=1e-5)
        scale = SIZES[image] / (height, width)
        boxes = np.stack([box for _, _, box in best]) * scale[[1, 0, 1, 0]]
        np.testing.assert_allclose(found.boxes[image], boxes, atol=1e-2)

    seen = []
    for view, (inputs, levels, *_) in enumerate(views):
        boxes = np.stack([[box for _, _, box in best] for best in expected]).astype(np.float32)
        if view:
            boxes = np.stack([mirrored_boxes(*one) for one in zip(boxes, np.asarray(inputs.sizes[:, 1]), strict=True)])
        labels, valid = found.labels, np.ones((2, slots), bool)
        seen.append(second_pass(levels, SelectedBoxes(jnp.asarray(boxes), found.scores, labels, valid)))
    (occluded, masks), (occluded_mirrored, masks_mirrored) = jax.tree.map(np.asarray, seen)
    np.testing.assert_allclose(found.occluded, (occluded + occluded_mirrored) / 2, atol=1e-4)
    for kind in ("amodal", "inmodal"):
        mean = (masks[kind] + masks_mirrored[kind][..., ::-1]) / 2
        np.testing.assert_allclose(getattr(found, f"{kind}_masks"), mean, atol=1e-3)


def test_what_is_found_in_a_mirror_image_is_the_mirror_image_of_what_is_found(variables, images):
    config = with_evaluation(CONFIG, flip=True)
    found, other = detect(config, variables, images), detect(config, variables, mirrored(images))
    without = detect(CONFIG, variables, images)
    assert found.valid.all()
    assert not np.allclose(found.scores, without.scores, atol=1e-3)
    np.testing.assert_array_equal(found.labels, other.labels)
    np.testing.assert_allclose(found.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(found.occluded, other.occluded, atol=1e-3)
    for image, (_, width) in enumerate(SIZES):
        np.testing.assert_allclose(found.boxes[image], mirrored_boxes(other.boxes[image], width), atol=1e-2)
    for name in ("amodal_masks", "inmodal_masks"):
        np.testing.assert_allclose(getattr(found, name), getattr(other, name)[..., ::-1], atol=1e-3)


def test_in_an_image_that_is_its_own_mirror_image_objects_come_in_pairs(variables, images):
    """With no suppression, which keeps one of two that are equally good; and their masks are each other's mirror."""
    config = with_evaluation(CONFIG, flip=True, nms_threshold=1.0, max_detections=1000)
    canvas = images.copy()
    for image, (height, width) in zip(canvas, SIZES, strict=True):
        image[:height, width // 2 : width] = image[:height, : width // 2][:, ::-1]
    np.testing.assert_array_equal(canvas, mirrored(canvas))
    found = detect(config, variables, canvas)
    for image, (_, width) in enumerate(SIZES):
        valid = found.valid[image]
        boxes, labels, masks = found.boxes[image][valid], found.labels[image][valid], found.amodal_masks[image][valid]
        assert len(boxes) > 100
        others = mirrored_boxes(boxes, width)
        for box, label, mask in zip(others, labels, masks, strict=True):
            same = np.flatnonzero((labels == label) & (np.abs(boxes - box).max(axis=1) < 1e-2))
            assert len(same)
            differences = [np.abs(masks[place][:, ::-1] - mask).max() for place in same]
            assert min(differences) < 1e-3


# ----- the switch


def test_the_switch_is_off_and_travels_with_the_configuration():
    assert not EvaluationConfig().flip
    config = with_evaluation(CONFIG, flip=True)
    assert from_json(to_json(config)) == config
    assert build_network(config) != build_network(CONFIG)  # what is compiled for one does not serve the other


@dataclasses.dataclass(frozen=True)
class OneViewConfig(NetworkConfig):
    """A network that has not said that it looks at mirror images."""


def test_a_network_without_mirror_images_refuses_the_switch():
    config = Config(model=ModelConfig(network=OneViewConfig()))
    with pytest.raises(
        ConfigError, match=r'evaluation.flip must be false: networks of model.network.kind "test_mirror"'
    ):
        with_evaluation(config, flip=True)
