"""FCIS against a slow literal reading of its own code, on score maps that are drawn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import AnchorConfig, BackboneConfig, EvaluationConfig, HeadConfig, MLCConfig, OcclusionConfig
from amodal_jax.config_json import override
from amodal_jax.errors import ConfigError
from amodal_jax.models.networks.fcis import CELLS, GROUPS, FCISConfig
from amodal_jax.models.one_level.candidates import Candidates
from amodal_jax.models.one_level.trunk import STRIDE
from amodal_jax.network import build_network, initialise
from amodal_jax.ops.boxes import pairwise_iou
from amodal_jax.ops.masks import mask_targets
from amodal_jax.structures import AnchorScores, NetworkInput, Proposals, RoISamples
from amodal_jax.summary import summarise
from amodal_jax.weights.transfer import transfer
from configs import load_config
from tests.helpers.micro import image_keys, micro_batch, micro_config
from tests.helpers.position_sensitive_reference import position_sensitive_pool as reference_pool

KINDS = ("amodal", "inmodal")
REGIONS, CLASSES = 12, 8
SIZE = (4, 6)  # of the maps of an input of 64 x 96


def micro_fcis(**changes):
    config = micro_config(
        network=FCISConfig(rpn_channels=16, channels=16),
        occlusion=OcclusionConfig(enabled=False),
        mlc=MLCConfig(enabled=False),
        **changes,
    )
    evaluation = EvaluationConfig(
        batch_size=2, max_detections=10, score_threshold=0.0, nms_threshold=0.3, mask_threshold=0.4
    )
    return dataclasses.replace(config, evaluation=evaluation)


def drawn_maps(seed=0, images=2, size=SIZE):
    rng = np.random.default_rng(seed)
    counts = {"amodal": 2 * CLASSES, "inmodal": 2 * CLASSES, "box": 8}
    return {
        name: rng.normal(size=(images, *size, count, GROUPS, GROUPS)).astype(np.float32)
        for name, count in counts.items()
    }


def pooled(maps, boxes):
    """Of one image's maps [h, w, F, 7, 7], [N, 21, 21, F] as FCIS' loop has it."""
    return reference_pool(maps.transpose(2, 3, 4, 0, 1), boxes - np.float32([0, 0, 1, 1]), CELLS, STRIDE)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def parts_of(of_region):
    """The likelihoods [21, 21, K1] that a region's cells are outside and inside of an object of each class."""
    return of_region[..., 0::2], of_region[..., 1::2]


def regions_and_truth():
    """Labelled regions of two images: some of each lie near objects; and the truth."""
    batch, rng = micro_batch(2), np.random.default_rng(3)
    near = np.asarray(batch.truth.boxes)[:, :4] + rng.uniform(-3, 3, (2, 4, 4))
    corners = rng.uniform(0, [96, 64], (2, REGIONS - 4, 2, 2))
    far = np.concatenate([corners.min(axis=2), corners.max(axis=2) + 2], axis=-1)
    boxes = np.clip(np.concatenate([near, far], axis=1), 0, [96, 64, 96, 64]).astype(np.float32)
    iou = np.stack(
        [np.asarray(pairwise_iou(*map(jnp.asarray, pair))) for pair in zip(boxes, batch.truth.boxes, strict=True)]
    )
    iou = np.where(np.asarray(batch.truth.valid)[:, None], iou, -1)
    positive, index = iou.max(axis=2) >= 0.5, iou.argmax(axis=2).astype(np.int32)
    valid = rng.random((2, REGIONS)) < 0.9
    return boxes, index, positive & valid, valid, batch.truth


def test_losses_are_those_of_its_code():
    boxes, index, positive, valid, truth = regions_and_truth()
    assert 2 < positive.sum() < 10
    maps, config = drawn_maps(), micro_fcis()
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, roi=dataclasses.replace(config.model.roi, batch_size=7))
    )
    network = build_network(config)
    regions = RoISamples(*map(jnp.asarray, (boxes, index, positive, valid)))
    found = jax.jit(lambda *values: network.apply({}, *values, method="region_losses"))(maps, regions, truth)

    expected = dict.fromkeys(("classification", "box", "amodal_mask", "inmodal_mask"), 0.0)
    kept = 0
    for image in range(2):
        readings = {kind: pooled(maps[kind][image], boxes[image]) for kind in KINDS}
        deltas = pooled(maps["box"][image], boxes[image])[..., 4:].mean(axis=(1, 2))
        targets = {
            kind: np.asarray(
                mask_targets(
                    getattr(truth, f"{kind}_crops")[image],
                    truth.boxes[image],
                    jnp.asarray(boxes[image]),
                    jnp.asarray(index[image]),
                    size=CELLS,
                    threshold=0.4,
                )
            )
            for kind in KINDS
        }
        terms = []
        for number in range(REGIONS):
            label = int(truth.labels[image, index[image, number]]) + 1 if positive[image, number] else 0
            outside, inside = parts_of(readings["amodal"][number])
            scores = softmax(np.maximum(outside, inside).mean(axis=(0, 1)))
            term = dict.fromkeys(expected, 0.0) | {"classification": -np.log(scores[label])}
            if label:
                for kind in KINDS:
                    pair = np.stack([part[..., label] for part in parts_of(readings[kind][number])], axis=-1)
                    chosen = np.where(targets[kind][number] == 1, softmax(pair)[..., 1], softmax(pair)[..., 0])
                    term[f"{kind}_mask"] = 10 * -np.log(chosen).mean()
                box, reference = boxes[image, number], np.asarray(truth.boxes[image, index[image, number]])
                side, reference_side = box[2:] - box[:2], reference[2:] - reference[:2]
                shift = (reference[:2] + reference_side / 2 - box[:2] - side / 2) / side
                wanted = np.array([*shift, *np.log(reference_side / side)]) * config.model.roi.box_weights
                difference = np.abs(deltas[number] - wanted)
                term["box"] = np.where(difference < 1, difference**2 / 2, difference - 0.5).sum()
            terms.append(term)
        hardness = [term["classification"] + term["amodal_mask"] + term["box"] for term in terms]
        hardest = sorted(np.flatnonzero(valid[image]), key=lambda number: -hardness[number])[:7]
        kept += len(hardest)
        for name in expected:
            expected[name] += sum(terms[number][name] for number in hardest)
    assert found.keys() == expected.keys()
    for name, total in expected.items():
        assert float(found[name].count) == kept
        np.testing.assert_allclose(found[name].total, total, rtol=1e-4, err_msg=name)


def drawn_proposals(seed=4, count=9):
    corners = np.random.default_rng(seed).uniform(0, [90, 60], (2, count, 2, 2))
    boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2) + 4], axis=-1).astype(np.float32)
    return Proposals(jnp.asarray(boxes), jnp.zeros((2, count)), jnp.ones((2, count), bool))


def test_candidates_are_those_of_its_code():
    """Class scores, and the mask of the best class that is not the background, which may score best of all."""
    maps, proposals, network = drawn_maps(), drawn_proposals(), build_network(micro_fcis())
    maps["amodal"][..., :2, :, :] += 1  # the background
    found = jax.jit(lambda *values: network.apply({}, *values, method="candidates"))(maps, proposals)
    assert (jnp.max(found.scores, axis=-1) < 0.5).any()
    for image in range(2):
        readings = {kind: pooled(maps[kind][image], np.asarray(proposals.boxes[image])) for kind in KINDS}
        for number in range(proposals.boxes.shape[1]):
            outside, inside = parts_of(readings["amodal"][number])
            logits = np.maximum(outside, inside).mean(axis=(0, 1))
            np.testing.assert_allclose(found.scores[image, number], softmax(logits)[1:], atol=1e-5)
            best = 1 + np.argmax(logits[1:])
            for kind in KINDS:
                pair = np.stack([part[..., best] for part in parts_of(readings[kind][number])], axis=-1)
                np.testing.assert_allclose(found.masks[kind][image, number], softmax(pair)[..., 1], atol=1e-5)


def test_the_second_round_has_the_boxes_that_the_first_gives():
    maps, proposals, config = drawn_maps(), drawn_proposals(), micro_fcis()
    sizes = jnp.array([[50, 80], [64, 96]])
    network = build_network(config)
    refined = jax.jit(lambda *values: network.apply({}, *values, method="refined"))(maps, proposals, sizes)
    for image in range(2):
        boxes = np.asarray(proposals.boxes[image])
        deltas = pooled(maps["box"][image], boxes)[..., 4:].mean(axis=(1, 2)) / config.model.roi.box_weights
        side = boxes[:, 2:] - boxes[:, :2]
        centre, new_side = boxes[:, :2] + side / 2 + deltas[:, :2] * side, np.exp(deltas[:, 2:]) * side
        height, width = np.asarray(sizes[image])
        expected = np.clip(
            np.concatenate([centre - new_side / 2, centre + new_side / 2], axis=1), 0, [width, height] * 2
        )
        np.testing.assert_allclose(refined.boxes[image], expected, atol=1e-3)


def test_what_moves_by_the_stride_is_found_there():
    """Score maps and the RPN's outputs, moved by cells within a wide canvas of zeros; all that follows moves along."""
    size, canvas, steps = (12, 14), (192, 224), np.array([3, 2])  # rows, columns
    config = micro_fcis(anchors=AnchorConfig(sizes=(16.0, 24.0, 32.0)))  # small, lest a box be cut off by the image
    network = build_network(config)
    rng = np.random.default_rng(5)
    anchors = network.trunk.rpn.place_anchors([size], canvas)
    per_cell = len(anchors[0]) // (size[0] * size[1])
    inner = np.zeros(size, bool)
    inner[3:7, 4:9] = True
    maps = drawn_maps(images=1, size=size)
    maps = {name: np.where(inner[..., None, None, None], values, 0) for name, values in maps.items()}
    logits = np.where(inner[..., None], rng.normal(0, 1, (*size, per_cell)), -50).astype(np.float32)
    deltas = rng.normal(0, 0.1, (*size, per_cell, 4)).astype(np.float32)

    @jax.jit
    def found(maps, logits, deltas):
        scores = AnchorScores([logits.reshape(1, -1)], [deltas.reshape(1, -1, 4)], anchors)
        sizes = jnp.array([canvas])
        proposals = network.trunk.rpn.propose(scores, sizes, train=False)
        second = network.apply({}, maps, proposals, sizes, method="refined")
        inputs = NetworkInput(pixels=None, sizes=sizes, source_sizes=sizes, truth=None)
        rounds = [network.apply({}, maps, regions, method="candidates") for regions in (proposals, second)]
        return Candidates.joined(rounds).detections(inputs, config.evaluation)

    here = found(maps, logits, deltas)
    rolled = jax.tree.map(lambda values: np.roll(values, steps, axis=(1, 2)), maps)
    there = found(rolled, np.roll(logits, steps, axis=(0, 1)), np.roll(deltas, steps, axis=(0, 1)))
    assert here.valid.sum() > 3
    np.testing.assert_array_equal(here.labels, there.labels)
    np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)
    moved = np.tile(steps[::-1] * STRIDE, 2)
    np.testing.assert_allclose(np.where(here.valid[..., None], here.boxes + moved, 0), there.boxes, atol=1e-2)
    for kind in KINDS:
        difference = np.abs(getattr(here, f"{kind}_masks") - getattr(there, f"{kind}_masks"))
        assert (difference > 1e-3).mean() < 0.01  # a probability at the threshold may fall on either side


def test_parameter_counts_are_those_derived():
    """FCIS' own on ResNet-50 has 31 514 528, with two scores an anchor whose softmax is one's logistic function."""
    parts = {part.name: part.parameters for part in summarise(load_config("fcis_r50"))}
    assert parts["backbone"] == 23_454_912
    assert parts["score_maps"] == 2_098_176 + 2 * 803_600 + 401_800
    own = override(
        load_config("fcis_r50"), ["--model.anchors.sizes", "64,128,256,512", "--model.heads.inmodal-mask", "false"]
    )
    assert summarise(own)[-1].parameters == 31_514_528 - 12 * (512 + 1)


def test_imagenet_weights_start_the_backbone():
    backbone = BackboneConfig(depth=18, width=8)
    config = micro_fcis(backbone=backbone)
    source = micro_config(class_names=(), backbone=backbone)
    network = build_network(config)
    variables = jax.jit(lambda: initialise(network, config, jax.random.key(0)))()
    weights = {kind: {"backbone": jax.tree.map(lambda x: x + 1, tree["backbone"])} for kind, tree in variables.items()}
    started, report = transfer(weights, source, variables, config)
    for kind, tree in weights.items():
        jax.tree.map(np.testing.assert_array_equal, started[kind]["backbone"], tree["backbone"])
    assert {name.partition("/")[0] for name in report.taken} == {"backbone"}
    assert {name.partition("/")[0] for name in report.new} == {"rpn_head", "score_maps"}


def test_another_fcis_starts_the_classes_of_the_same_name():
    config, other = micro_fcis(), micro_fcis(class_names=("car", "dog"))
    shapes = {
        one: jax.eval_shape(lambda one=one: initialise(build_network(one), one, jax.random.key(0)))
        for one in (config, other)
    }
    old, new = (
        jax.tree.map(lambda leaf, seed=seed: np.random.default_rng(seed).normal(size=leaf.shape), shapes[one])
        for seed, one in ((0, other), (1, config))
    )
    started, report = transfer(old, other, new, config)
    assert report.classes == {"car": "car"}
    width, here = 2 * GROUPS**2, 1 + config.model.class_names.index("car")
    for kind in KINDS:
        kernels = [tree["params"]["score_maps"][f"{kind}_maps"]["kernel"] for tree in (started, old, new)]
        result, theirs, ours = (kernel.reshape(*kernel.shape[:-1], -1, width) for kernel in kernels)
        np.testing.assert_array_equal(result[..., here, :], theirs[..., 1, :])
        np.testing.assert_array_equal(result[..., 0, :], theirs[..., 0, :])
        np.testing.assert_array_equal(result[..., here + 1, :], ours[..., here + 1, :])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("model.heads.amodal-mask", "false", "model.heads.amodal_mask must be true"),
        ("model.occlusion.enabled", "true", "model.occlusion.enabled must be false"),
        ("model.mlc.enabled", "true", "model.mlc.enabled must be false"),
        ("model.network.mask-weight", "0", "model.network.mask_weight must be positive"),
        ("model.network.channels", "0", "model.network channels must be positive"),
        ("model.network.mask-target-threshold", "0", "mask_target_threshold must be within"),
    ],
)
def test_what_does_not_fit_is_refused(option, value, message):
    with pytest.raises(ConfigError, match=message):
        override(micro_fcis(), [f"--{option}", value])


def test_amodal_masks_alone():
    config = micro_fcis(heads=HeadConfig(inmodal_mask=False))
    network, batch = build_network(config), micro_batch(1)
    variables = jax.eval_shape(lambda: initialise(network, config, jax.random.key(0)))
    assert network.mask_kinds == ("amodal",)
    terms = jax.eval_shape(lambda values: network.apply(values, batch, image_keys(1), method="losses"), variables)
    assert set(terms) == {"rpn_objectness", "rpn_box", "classification", "box", "amodal_mask"}
    found = jax.eval_shape(lambda values: network.apply(values, batch.images, batch.sizes, method="detect"), variables)
    assert found.inmodal_masks is None
