"""What the detector makes of given regions: losses and masks against a computation of their own in NumPy.

The branches' outputs come from the branches themselves, called one by one here; which of them is compared with what,
and how it is summed, is written out again.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax import losses
from amodal_jax.config import MLCConfig, OcclusionConfig, RoIConfig
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.models.networks.detector import Detector
from amodal_jax.network import build_network, initialise
from amodal_jax.structures import AnchorSamples, AnchorScores, Batch, GroundTruth, RoISamples, SelectedBoxes
from tests.helpers.micro import SLOTS, image_keys, loud, micro_config

LEVEL_SIZES = ((16, 24), (8, 12), (4, 6), (2, 3), (1, 2))
SIZES = np.array([[50, 83], [64, 80]], np.int32)
INPUT_SIZES = np.array([[57, 96], [64, 80]])  # short side to 64, long side to at most 96
ROI_WEIGHTS = (10.0, 9.0, 5.0, 4.0)
THRESHOLD = 0.0625  # of occlusion; a ratio of just that is not over it
POSITIVE_WEIGHT = 8.0
ROIS = 16

CONFIG = micro_config(
    fpn_channels=8,  # as many as of the branches, so that the same parameters do for every place of guidance
    roi=RoIConfig(batch_size=ROIS, box_weights=ROI_WEIGHTS),
    occlusion=OcclusionConfig(threshold=THRESHOLD, positive_weight=POSITIVE_WEIGHT),
)


@pytest.fixture(scope="module")
def variables():
    return loud(initialise(build_network(CONFIG), CONFIG, jax.random.key(0)), size=4.0)


@pytest.fixture(scope="module")
def levels():
    keys = jax.random.split(jax.random.key(1), len(LEVEL_SIZES))
    return tuple(jax.random.normal(key, (2, *size, 8)) for key, size in zip(keys, LEVEL_SIZES, strict=True))


def coarse_masks(rng, filled):
    """Masks of 14 x 14 fields of 8 x 8 cells each, of which a share is filled."""
    return rng.uniform(size=(2, SLOTS, 14, 14)) < filled


def packed(masks):
    return np.packbits(masks.repeat(8, axis=2).repeat(8, axis=3), axis=-1)


@pytest.fixture(scope="module")
def scene():
    """A batch of two images of different scales, and the coarse masks of which its crops are made."""
    rng = np.random.default_rng(0)
    boxes = np.zeros((2, SLOTS, 4), np.float32)
    boxes[0, :3] = [[10, 8, 38, 30], [40, 5, 70, 45], [5, 25, 25, 48]]
    boxes[1, :2] = [[20, 10, 60, 50], [2, 30, 30, 60]]
    masks = {"amodal_mask": coarse_masks(rng, 0.8), "inmodal_mask": coarse_masks(rng, 0.3)}
    batch = Batch(
        images=np.zeros((2, 64, 96, 3), np.uint8),
        sizes=SIZES,
        image_ids=np.arange(2, dtype=np.int32),
        valid=np.ones(2, bool),
        truth=GroundTruth(
            boxes=boxes,
            labels=np.array([[2, 5, 0, 3, 3, 3], [6, 1, 4, 4, 4, 4]], np.int32),
            occlusion_ratio=np.array([[THRESHOLD, 0.07, 0, 1, 1, 1], [0.05, 0.5, 1, 1, 1, 1]], np.float32),
            amodal_crops=packed(masks["amodal_mask"]),
            inmodal_crops=packed(masks["inmodal_mask"]),
            cluster=np.full((2, SLOTS), -1, np.int32),
            order=np.full((2, SLOTS), -1, np.int32),
            valid=np.arange(SLOTS) < np.array([[3], [2]]),
            crowd=np.zeros((2, SLOTS), bool),
        ),
    )
    return jax.tree.map(jnp.asarray, batch), masks


def input_boxes(batch):
    """Ground truth in pixels of the network's input, float64."""
    return np.asarray(batch.truth.boxes, np.float64) * (INPUT_SIZES / SIZES)[:, None, [1, 0, 1, 0]]


@pytest.fixture(scope="module")
def regions(scene):
    """Sampled regions whose bins each lie within one field of the coarse mask, so that targets are exact."""
    truth = input_boxes(scene[0])
    boxes = np.random.default_rng(1).uniform(0, 30, (2, ROIS, 4))
    boxes[..., 2:] += boxes[..., :2] + 5
    index = np.ones((2, ROIS), np.int32)  # of background, too: it overlaps something, if not enough
    positive = np.zeros((2, ROIS), bool)
    valid = np.arange(ROIS) < np.array([[11], [14]])
    for image, slot, truth_index, low, high in (
        (0, 0, 0, (0.25, -0.5), (1.25, 0.5)),  # shares of the truth box's width and height
        (0, 1, 1, (0, 0), (0.5, 0.5)),
        (0, 2, 2, (0, 0), (1, 1)),
        (0, 3, 1, (0, 0), (1, 1)),  # positive, but not valid: as in an image that fills up a batch
        (1, 0, 1, (-0.5, -0.5), (1.5, 1.5)),
        (1, 1, 0, (0, 0.5), (1, 1)),
    ):
        corner = truth[image, truth_index, :2]
        side = truth[image, truth_index, 2:] - corner
        boxes[image, slot] = [*(corner + side * low), *(corner + side * high)]
        index[image, slot] = truth_index
        positive[image, slot] = True
    valid[0, 3] = False
    return RoISamples(*map(jnp.asarray, (boxes.astype(np.float32), index, positive, valid)))


class Opened(Detector):
    """A detector whose methods may be any functions of it: Flax sets a module up when it is called by a method."""

    def call(self, function, *arguments):
        return function(self, *arguments)


def open_network(config):
    network = build_network(config)
    return Opened(**{name: getattr(network, name) for name in Detector.__annotations__})


def branch_outputs(self, levels, boxes, layer):
    """Outputs of all branches for boxes [B, n, 4], flattened; guidance after the box branches' given convolution."""
    pooled = self.pooling(levels, boxes, 7)
    box_hidden, box_layers = self.boxes.box_head(pooled)
    occlusion_hidden, occlusion_layers = self.boxes.occlusion_head(pooled)
    logits, deltas = self.boxes.box_predictor(box_hidden)
    guidance = (box_layers[layer], occlusion_layers[layer])
    wide = self.pooling(levels, boxes, 14)
    return {
        "class": logits,
        "deltas": deltas,
        "occlusion": self.boxes.occlusion_predictor(occlusion_hidden),
        "amodal_mask": self.masks.amodal_mask_head(wide, guidance),
        "inmodal_mask": self.masks.inmodal_mask_head(wide, guidance),
    }


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum())


def smooth_l1(difference):
    size = np.abs(difference)
    return np.where(size < 1 / 9, 4.5 * size**2, size - 1 / 18).sum()


def binary_cross_entropy(logits, targets):
    return np.logaddexp(0, logits) - logits * targets


def deltas_to(truth, box, weights):
    side, truth_side = box[2:] - box[:2], truth[2:] - truth[:2]
    shift = (truth[:2] + truth_side / 2 - box[:2] - side / 2) / side
    return np.array([*shift, *np.log(truth_side / side)]) * weights


def mask_target(mask, truth, box):
    """The field of the coarse mask under the centre of each bin."""
    bins = (np.arange(28) + 0.5) / 28
    x = np.floor((box[0] + bins * (box[2] - box[0]) - truth[0]) / (truth[2] - truth[0]) * 14).astype(int)
    y = np.floor((box[1] + bins * (box[3] - box[1]) - truth[1]) / (truth[3] - truth[1]) * 14).astype(int)
    inside = ((y >= 0) & (y < 14))[:, None] & ((x >= 0) & (x < 14))[None, :]
    return mask[np.ix_(np.clip(y, 0, 13), np.clip(x, 0, 13))] & inside


def region_losses(outputs, scene, regions):
    batch, masks = scene
    truth_boxes = input_boxes(batch)
    outputs = {
        name: np.asarray(value, np.float64).reshape(2, ROIS, *value.shape[1:]) for name, value in outputs.items()
    }
    boxes = np.asarray(regions.boxes, np.float64)
    total = dict.fromkeys(("classification", "box", "occlusion", "amodal_mask", "inmodal_mask"), 0.0)
    sampled = positives = weights = 0
    for image, slot in zip(*np.nonzero(regions.valid), strict=True):
        index = int(regions.truth_index[image, slot])
        positive = bool(regions.positive[image, slot])
        label = int(batch.truth.labels[image, index]) + 1 if positive else 0
        occluded = positive and float(batch.truth.occlusion_ratio[image, index]) > THRESHOLD
        sampled += 1
        total["classification"] -= log_softmax(outputs["class"][image, slot])[label]
        weight = POSITIVE_WEIGHT if occluded else 1.0
        weights += weight
        total["occlusion"] -= weight * log_softmax(outputs["occlusion"][image, slot])[int(occluded)]
        if not positive:
            continue
        positives += 1
        truth, box = truth_boxes[image, index], boxes[image, slot]
        total["box"] += smooth_l1(outputs["deltas"][image, slot, label] - deltas_to(truth, box, ROI_WEIGHTS))
        for name, mask in masks.items():
            target = mask_target(mask[image, index], truth, box)
            total[name] += binary_cross_entropy(outputs[name][image, slot, :, :, label], target).mean()
    assert (sampled, positives) == (10 + 14, 3 + 2)
    counts = {"classification": sampled, "box": sampled, "occlusion": weights}
    return {name: value / counts.get(name, positives) for name, value in total.items()}


def test_losses_of_given_samples(variables, levels, scene, regions):
    batch, _ = scene
    detector = open_network(CONFIG)
    placed = detector.rpn.place_anchors(LEVEL_SIZES, (64, 96))
    anchors = np.concatenate(placed).astype(np.float64)
    rng = np.random.default_rng(2)
    ends = np.cumsum([3 * height * width for height, width in LEVEL_SIZES])
    assert len(anchors) == ends[-1]
    logits, deltas = rng.normal(0, 2, (2, ends[-1])), rng.normal(0, 1, (2, ends[-1], 4))
    indices = np.stack([rng.choice(ends[-1], 32, replace=False) for _ in range(2)]).astype(np.int32)
    valid = np.arange(32) < np.array([[30], [20]])
    positive = np.arange(32) < np.array([[6], [9]])
    index = rng.integers(0, 2, (2, 32)).astype(np.int32)
    anchor_samples = AnchorSamples(*map(jnp.asarray, (indices, index, positive, valid)))
    scores = AnchorScores(
        *(
            [jnp.asarray(part, jnp.float32) for part in np.split(values, ends[:-1], axis=1)]
            for values in (logits, deltas)
        ),
        placed,
    )

    def loss_terms(self, levels):
        truth = self.preprocess(batch.images, batch.sizes, batch.truth).truth
        return self.loss_terms(levels, scores, anchor_samples, regions, truth, image_keys(2))

    def outputs_of_branches(self, levels):
        return branch_outputs(self, levels, regions.boxes, 1)

    terms, outputs = (
        jax.jit(lambda v, levels, method=method: detector.apply(v, method, levels, method="call"))(variables, levels)
        for method in (loss_terms, outputs_of_branches)
    )
    truth_boxes = input_boxes(batch)
    expected = {"rpn_objectness": 0.0, "rpn_box": 0.0} | region_losses(outputs, scene, regions)
    for image, slot in zip(*np.nonzero(valid), strict=True):
        anchor = indices[image, slot]
        is_positive = bool(positive[image, slot])
        expected["rpn_objectness"] += binary_cross_entropy(logits[image, anchor], is_positive) / valid.sum()
        if is_positive:
            target = deltas_to(truth_boxes[image, index[image, slot]], anchors[anchor], (1, 1, 1, 1))
            expected["rpn_box"] += smooth_l1(deltas[image, anchor] - target) / valid.sum()
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses.mean(terms[name]), value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_masks_and_occlusion_of_given_boxes(variables, levels, scene, regions, layer):
    """In inference and, by the masks' losses, in training: MLC takes the features after the layer it is told to."""
    model = dataclasses.replace(CONFIG.model, mlc=MLCConfig(box_layer=layer))
    config = dataclasses.replace(CONFIG, model=model)
    detector = open_network(config)
    batch, _ = scene
    labels = np.random.default_rng(3).integers(0, 7, (2, 20)).astype(np.int32)
    valid = np.arange(20) < np.array([[18], [3]])  # more than a block and less than one
    boxes = jnp.concatenate([regions.boxes, regions.boxes[:, :4] + 3], axis=1)
    selected = SelectedBoxes(boxes, jnp.zeros((2, 20)), jnp.asarray(labels), jnp.asarray(valid))

    def all_of_it(self, levels):
        truth = self.preprocess(batch.images, batch.sizes, batch.truth).truth
        _, guidance = self.boxes.losses(self.pooling(levels, regions.boxes, 7), regions, truth)
        targets = MaskTargets.of(regions, truth, ROIS // 4)
        wide = self.pooling(levels, targets.boxes, 14)
        terms = self.masks.losses(wide, targets, guidance, image_keys(2))
        sampled = branch_outputs(self, levels, regions.boxes, layer)
        return self.second_pass(levels, selected), branch_outputs(self, levels, boxes, layer), terms, sampled

    run = jax.jit(lambda v, levels: detector.apply(v, all_of_it, levels, method="call"))
    found, outputs, terms, sampled = run(variables, levels)
    occlusion = np.asarray(outputs["occlusion"]).reshape(2, 20, 2)
    occluded = 1 / (1 + np.exp(occlusion[..., 0] - occlusion[..., 1]))
    found_occluded, found_masks = found
    np.testing.assert_allclose(found_occluded, np.where(valid, occluded, 0), atol=1e-5)
    for kind, masks in found_masks.items():
        logits = np.asarray(outputs[f"{kind}_mask"]).reshape(2, 20, 28, 28, 8)
        of_class = np.take_along_axis(logits, labels[:, :, None, None, None] + 1, axis=-1)[..., 0]
        expected = np.where(valid[:, :, None, None], 1 / (1 + np.exp(-of_class)), 0)
        np.testing.assert_allclose(masks, expected, atol=1e-4)
    expected = region_losses(sampled, scene, regions)
    for name, term in terms.items():
        np.testing.assert_allclose(losses.mean(term), expected[name], rtol=1e-4, err_msg=name)
