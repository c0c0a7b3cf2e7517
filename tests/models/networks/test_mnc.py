"""MNC against a slow literal reading of its own code, on features and weights that are drawn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import BackboneConfig, EvaluationConfig, HeadConfig, MLCConfig, OcclusionConfig, RoIConfig
from amodal_jax.config_json import override
from amodal_jax.errors import ConfigError
from amodal_jax.models.heads.cascade import RegionClasses
from amodal_jax.models.networks.mnc import MNCConfig
from amodal_jax.models.one_level.graded_regions import draw_regions
from amodal_jax.models.one_level.trunk import STRIDE
from amodal_jax.network import build_network, initialise
from amodal_jax.ops.boxes import pairwise_iou
from amodal_jax.ops.masks import mask_targets
from amodal_jax.structures import Proposals, RoISamples
from amodal_jax.summary import summarise
from amodal_jax.weights.transfer import transfer
from configs import load_config
from tests.helpers.micro import image_keys, micro_batch, micro_config
from tests.helpers.warping_reference import roi_warping as reference_warping

KINDS = ("amodal", "inmodal")
CHANNELS, CLASSES, REGIONS = 6, 8, 8
SIZE = (4, 6)  # of the features of an input of 64 x 96
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def micro_mnc(network=None, **changes):
    config = micro_config(
        network=network or MNCConfig(rpn_channels=16, channels=CHANNELS, hidden=12, mask_hidden=10),
        roi=RoIConfig(batch_size=16, positive_fraction=0.3),
        occlusion=OcclusionConfig(enabled=False),
        mlc=MLCConfig(enabled=False),
        **changes,
    )
    evaluation = EvaluationConfig(
        batch_size=2, max_detections=10, score_threshold=0.0, nms_threshold=0.3, mask_threshold=0.4
    )
    return dataclasses.replace(config, evaluation=evaluation)


def random_variables(config, seed):
    """Small ones of the configuration's network."""
    shapes = jax.eval_shape(lambda: initialise(build_network(config), config, jax.random.key(0)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape) / 10), shapes)


@pytest.fixture(scope="module")
def network():
    return build_network(micro_mnc())


@pytest.fixture(scope="module")
def params(network):
    """Of the rounds alone, with weights that let outputs differ."""
    config = micro_mnc()
    shapes = jax.eval_shape(lambda: initialise(network, config, jax.random.key(0)))["params"]
    rng = np.random.default_rng(0)

    def drawn(shape):
        return jnp.float32(rng.normal(size=shape) * 2 / np.sqrt(shape[-2] if len(shape) > 1 else 10))

    of_rounds = [name for name in shapes if name not in ("backbone", "rpn_head")]
    return {name: jax.tree.map(lambda leaf: drawn(leaf.shape), shapes[name]) for name in of_rounds}


def features_of(images=2, seed=1):
    return np.maximum(np.random.default_rng(seed).normal(size=(images, *SIZE, CHANNELS)), 0).astype(np.float32)


def apply(network, params, method):
    """A method of the rounds, compiled."""
    return jax.jit(lambda *values: network.stages.apply({"params": params}, *values, method=method))


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def pooled(x):
    return np.stack([x[i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(axis=0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def literal_region(params, features, box):
    """One region through two stages: the masks' logits by kind, both classes' logits, and the deltas [K1, 4]."""
    warped = pooled(reference_warping(features, box[None], 28, STRIDE)[0])
    logits = {}
    for kind in KINDS:
        head = params[f"{kind}_mask_head"]
        logits[kind] = dense(head["fc2"], np.maximum(dense(head["fc1"], warped.reshape(-1)), 0)).reshape(21, 21)
    mask = sigmoid(logits["amodal"])
    steps = 1.5 * np.arange(14)
    low = steps.astype(int)
    share = steps - low
    along_y = (1 - share)[:, None] * mask[low] + share[:, None] * mask[low + 1]
    resized = (1 - share) * along_y[:, low] + share * along_y[:, low + 1]
    hidden = []
    for name, x in (("mask_stream", warped * resized[..., None]), ("box_stream", warped)):
        x = pooled(x).reshape(-1)
        for layer in ("fc6", "fc7"):
            x = np.maximum(dense(params[name][layer], x), 0)
        hidden.append(x)
    joined, last = np.concatenate(hidden), params["region_predictor"]
    deltas = dense(last["bbox_pred"], joined).reshape(CLASSES, 4)
    return logits, dense(last["cls_score"], joined), dense(last["seg_cls_score"], joined), deltas


def literal_next_box(box, mask_scores, deltas, size):
    shift, growth = np.split(deltas[1 + np.argmax(mask_scores[1:])] / WEIGHTS, 2)
    side = box[2:] - box[:2]
    centre, side_after = box[:2] + side / 2 + shift * side, side * np.exp(np.minimum(growth, np.log(1000 / 16)))
    height, width = size
    return np.clip([*(centre - side_after / 2), *(centre + side_after / 2)], 0, [width, height] * 2)


def drawn_proposals(seed=4, count=REGIONS):
    corners = np.random.default_rng(seed).uniform(0, [90, 60], (2, count, 2, 2))
    boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2) + 4], axis=-1).astype(np.float32)
    return Proposals(jnp.asarray(boxes), jnp.zeros((2, count)), jnp.ones((2, count), bool))


def test_both_rounds_are_those_of_the_layers_one_by_one(network, params):
    """Stages 2 and 3 on proposals; stages 4 and 5, with the same weights, on the boxes that follow from these."""
    features, proposals, sizes = features_of(), drawn_proposals(), np.array([[50, 80], [64, 96]])

    def rounds(module, features, proposals, sizes):
        first, found = module.read(features, proposals)
        boxes = module.next_boxes(proposals.boxes, found, sizes)
        return first, module.read(features, proposals.replace(boxes=boxes))[0]

    first, second = apply(network, params, rounds)(features, proposals, sizes)
    shifts = []
    for image in range(2):
        for number in range(REGIONS):
            box = np.asarray(proposals.boxes[image, number], np.float64)
            for candidates in (first, second):
                logits, _, mask_scores, deltas = literal_region(params, features[image], box)
                np.testing.assert_allclose(candidates.boxes[image, number], box, atol=1e-3)
                np.testing.assert_allclose(candidates.scores[image, number], softmax(mask_scores)[1:], atol=1e-4)
                for kind in KINDS:
                    expected = sigmoid(logits[kind])
                    np.testing.assert_allclose(candidates.masks[kind][image, number], expected, atol=1e-4)
                box = literal_next_box(box, mask_scores, deltas, sizes[image])
            shifts.append(np.abs(box - np.asarray(proposals.boxes[image, number])).max())
    assert np.median(shifts) > 1


def samples_and_truth():
    """Regions of two images, of which some lie near objects, and the truth; the objects' masks are discs or less."""
    batch, rng = micro_batch(2), np.random.default_rng(3)
    near = np.asarray(batch.truth.boxes)[:, :5] + rng.uniform(-3, 3, (2, 5, 4))
    far = drawn_proposals(seed=5, count=REGIONS - 5).boxes
    boxes = np.clip(np.concatenate([near, far], axis=1), 0, [96, 64, 96, 64]).astype(np.float32)
    iou = np.stack([pairwise_iou(jnp.asarray(boxes[image]), batch.truth.boxes[image]) for image in range(2)])
    iou = np.where(np.asarray(batch.truth.valid)[:, None], iou, -1)
    valid = rng.random((2, REGIONS)) < 0.9
    rows, columns = np.mgrid[-55.5:56.5, -55.5:56.5]
    disc = rows**2 + columns**2 < 56**2
    crops = {"amodal_crops": disc, "inmodal_crops": disc & (columns > -20)}
    packed = {
        name: jnp.asarray(np.broadcast_to(np.packbits(crop, axis=1), (2, 6, 112, 14))) for name, crop in crops.items()
    }
    truth = dataclasses.replace(batch.truth, **packed)
    positive = iou.max(axis=2) >= 0.5
    return RoISamples(boxes, iou.argmax(axis=2).astype(np.int32), positive & valid, valid), truth


def literal_mask_iou(mask, box, truth_box):
    """Of a mask of 21 x 21 cells and a disc's 112 x 112, on a raster of hundredths of pixels along each axis."""
    step = 0.05
    low, high = np.minimum(box[:2], truth_box[:2]), np.maximum(box[2:], truth_box[2:])
    x, y = (np.arange(low[axis] + step / 2, high[axis], step) for axis in (0, 1))

    def cells(of, count, axis, positions):
        side = of[axis + 2] - of[axis]
        place = np.floor((positions - of[axis]) / side * count).astype(int)
        return np.clip(place, 0, count - 1), (place >= 0) & (place < count)

    def raster(values, of):
        (columns, in_x), (rows, in_y) = cells(of, values.shape[1], 0, x), cells(of, values.shape[0], 1, y)
        return values[np.ix_(rows, columns)] & in_y[:, None] & in_x

    rows, columns = np.mgrid[-55.5:56.5, -55.5:56.5]
    one, other = raster(mask, box), raster(rows**2 + columns**2 < 56**2, truth_box)
    return (one & other).sum() / (one | other).sum()


def cross_entropy(logits, label):
    return -np.log(softmax(logits)[label])


def test_losses_are_those_of_its_code(network, params):
    """On masks of which some agree with their objects and some do not."""
    samples, truth = samples_and_truth()
    features = features_of()
    found, _ = apply(network, params, "losses")(features, jax.tree.map(jnp.asarray, samples), truth)

    names = ("classification", "mask_classification", "box", "amodal_mask", "inmodal_mask")
    totals, counts, agreeing = dict.fromkeys(names, 0.0), {"regions": 0, "positive": 0}, []
    for image in range(2):
        targets = {
            kind: np.asarray(
                mask_targets(
                    getattr(truth, f"{kind}_crops")[image],
                    truth.boxes[image],
                    jnp.asarray(samples.boxes[image]),
                    jnp.asarray(samples.truth_index[image]),
                    size=21,
                    threshold=0.4,
                )
            )
            for kind in KINDS
        }
        for number in np.flatnonzero(samples.valid[image]):
            counts["regions"] += 1
            box = samples.boxes[image, number].astype(np.float64)
            logits, scores, mask_scores, deltas = literal_region(params, features[image], box)
            index = samples.truth_index[image, number]
            label = int(truth.labels[image, index]) + 1 if samples.positive[image, number] else 0
            mask_label = 0
            if label:
                counts["positive"] += 1
                reference = np.asarray(truth.boxes[image, index], np.float64)
                iou = literal_mask_iou(sigmoid(logits["amodal"]) >= 0.4, box, reference)
                agreeing.append(iou >= 0.5)
                assert abs(iou - 0.5) > 3e-3  # what the raster cannot tell
                mask_label = label * agreeing[-1]
                side, reference_side = box[2:] - box[:2], reference[2:] - reference[:2]
                shift = (reference[:2] + reference_side / 2 - box[:2] - side / 2) / side
                wanted = np.array([*shift, *np.log(reference_side / side)]) * WEIGHTS
                difference = np.abs(deltas[label] - wanted)
                totals["box"] += np.where(difference < 1, difference**2 / 2, difference - 0.5).sum()
                for kind in KINDS:
                    odds = np.where(targets[kind][number] == 1, logits[kind], -logits[kind])
                    totals[f"{kind}_mask"] += 2 * np.logaddexp(0, -odds).mean()
            totals["classification"] += cross_entropy(scores, label)
            totals["mask_classification"] += cross_entropy(mask_scores, mask_label)
    assert 0 < sum(agreeing) < len(agreeing)
    assert set(found) == set(names)
    for name in names:
        count = counts["positive" if name.endswith("mask") else "regions"]
        cells = 21**2 if name.endswith("mask") else 1
        assert float(found[name].count) == count * cells
        np.testing.assert_allclose(found[name].total / found[name].count, totals[name] / count, rtol=1e-3, err_msg=name)


def test_classes_reach_the_masks_that_agree_with_their_objects_alone(network, params):
    """The gradient of the terms of classes and boxes for the masks' biases; where no mask agrees there is none."""
    samples, truth = samples_and_truth()
    samples, features = jax.tree.map(jnp.asarray, samples), jnp.asarray(features_of())

    @jax.jit
    def slope(bias):
        def value(bias):
            head = params["amodal_mask_head"]
            changed = params | {"amodal_mask_head": head | {"fc2": {"kernel": head["fc2"]["kernel"], "bias": bias}}}
            terms, _ = network.stages.apply({"params": changed}, features, samples, truth, method="losses")
            return sum(terms[name].total for name in ("classification", "mask_classification", "box"))

        return jax.grad(value)(bias)

    bias = params["amodal_mask_head"]["fc2"]["bias"]
    assert jnp.abs(slope(bias + 6)).max() > 1e-6
    np.testing.assert_array_equal(slope(bias - 1e4), 0)  # empty masks


@pytest.mark.parametrize("limit", [0.0, 0.01, 1e6])
def test_the_gradient_through_the_bridge_is_cut_to_the_limit(limit):
    config = micro_mnc(network=MNCConfig(channels=CHANNELS, box_gradient_limit=limit))
    network = build_network(config)
    rng = np.random.default_rng(6)
    boxes, sizes = jnp.float32([[[20, 10, 50, 40], [30, 20, 60, 50]]]), jnp.array([[64, 96]])
    mask_scores = jnp.float32(rng.normal(size=(2, CLASSES))).at[:, 0].set(9)  # the background is likeliest
    deltas, weight = (rng.normal(size=shape) for shape in ((2, CLASSES, 4), (1, 2, 4)))

    def value(deltas):
        found = RegionClasses(scores=mask_scores, mask_scores=mask_scores, deltas=deltas)
        return jnp.sum(network.apply({}, boxes, found, sizes, method="bridge") * weight)

    gradient = np.asarray(jax.jit(jax.grad(value))(jnp.float32(deltas)))
    expected = np.zeros_like(deltas)
    for region, best in enumerate(1 + np.argmax(mask_scores[:, 1:], axis=1)):
        for place in range(4):
            values = []
            for step in (1e-5, -1e-5):
                moved = deltas.copy()
                moved[region, best, place] += step
                box = literal_next_box(
                    np.asarray(boxes[0, region], np.float64), mask_scores[region], moved[region], (64, 96)
                )
                values.append(box @ weight[0, region])
            expected[region, best, place] = (values[0] - values[1]) / 2e-5
    assert (np.abs(expected) > 0.01).any()
    np.testing.assert_allclose(gradient, np.clip(expected, -limit, limit), rtol=1e-3, atol=1e-4)


def test_drawn_regions_are_graded():
    """Positive ones first, then background near to objects, then far from them; none in a crowd or of no image."""
    truth = micro_batch(3).truth
    rng = np.random.default_rng(7)
    near = np.repeat(np.asarray(truth.boxes[:, :2]), 20, axis=1)
    shifted = near + rng.uniform(-1, 1, near.shape[:2] + (1,)) * np.tile(near[..., 2:] - near[..., :2], 2)
    far = np.asarray(drawn_proposals(seed=8, count=40).boxes)[[0, 1, 0]]
    boxes = jnp.float32(np.concatenate([shifted, far], axis=1))
    proposals = Proposals(boxes, jnp.zeros(boxes.shape[:2]), jnp.ones(boxes.shape[:2], bool))
    roi = RoIConfig(batch_size=20, positive_fraction=0.3)
    draw = jax.jit(lambda *values: draw_regions(roi, *values))
    found = draw(proposals, truth, jnp.array([True, True, False]), image_keys(3))
    assert not found.valid[2].any()
    for image in (0, 1):
        iou = np.where(truth.valid[image], pairwise_iou(found.boxes[image], truth.boxes[image]), 0).max(axis=1)
        np.testing.assert_array_equal(found.positive[image], np.arange(20) < 6)
        assert (iou[:6] >= 0.5).all()
        grades = np.where(iou[6:] >= 0.1, 1, 2)
        assert ((iou[6:] < 0.5) & found.valid[image, 6:]).all()
        np.testing.assert_array_equal(grades, [1] * 12 + [2] * 2)
    crowd = jnp.zeros_like(truth.crowd).at[0, -1].set(True)
    everything = dataclasses.replace(
        truth, crowd=crowd, boxes=truth.boxes.at[0, -1].set(jnp.array([-500.0, -500, 500, 500]))
    )
    within = draw(proposals, everything, jnp.ones(3, bool), image_keys(3))
    np.testing.assert_array_equal(within.valid[0], within.positive[0])


def test_a_batch_has_the_terms_of_its_images(network):
    """So that devices, which see some each, add up to the same; terms of the second round are called so."""
    variables = random_variables(micro_mnc(), 0)
    batch, keys = micro_batch(2), image_keys(2)
    losses = jax.jit(lambda *values: network.apply(*values, keys, method="losses"))
    whole = losses(variables, batch)
    parts = [losses(variables, dataclasses.replace(batch, valid=jnp.arange(2) == image)) for image in range(2)]
    assert {name for name in whole if f"second_{name}" not in whole and not name.startswith("second_")} == {
        "rpn_objectness",
        "rpn_box",
    }
    for name, term in whole.items():
        assert float(term.count) > 0
        np.testing.assert_allclose(term.count, sum(part[name].count for part in parts))
        np.testing.assert_allclose(term.total, sum(part[name].total for part in parts), rtol=1e-4, err_msg=name)


def test_parameter_counts_are_those_derived():
    """Of MNC's head 40 848 361, the convolution before it 524 544, and another mask's layers."""
    parts = {part.name: part.parameters for part in summarise(load_config("mnc_r50"))}
    assert parts["reduction"] == 524_544
    head = ("amodal_mask_head", "box_stream", "mask_stream", "region_predictor")
    assert sum(parts[name] for name in head) == 40_848_361
    assert parts["inmodal_mask_head"] == 12_958_649
    assert parts["all"] == parts["backbone"] + parts["rpn_head"] + 524_544 + 40_848_361 + 12_958_649


def test_imagenet_weights_start_the_backbone():
    backbone = BackboneConfig(depth=18, width=8)
    config = micro_mnc(backbone=backbone)
    source = micro_config(class_names=(), backbone=backbone)
    variables = random_variables(config, 0)
    weights = {kind: {"backbone": jax.tree.map(lambda x: x + 1, tree["backbone"])} for kind, tree in variables.items()}
    started, report = transfer(weights, source, variables, config)
    for kind, tree in weights.items():
        jax.tree.map(np.testing.assert_array_equal, started[kind]["backbone"], tree["backbone"])
    assert {name.partition("/")[0] for name in report.taken} == {"backbone"}


def test_another_mnc_starts_the_classes_of_the_same_name_and_both_masks():
    config, other = micro_mnc(), micro_mnc(class_names=("car", "dog"), heads=HeadConfig(inmodal_mask=False))
    old, new = random_variables(other, 0), random_variables(config, 1)
    started, report = transfer(old, other, new, config)
    assert report.classes == {"car": "car"}
    here = 1 + config.model.class_names.index("car")
    for name in ("cls_score", "seg_cls_score"):
        result, theirs, ours = (tree["params"]["region_predictor"][name]["bias"] for tree in (started, old, new))
        assert (result[0], result[here]) == (theirs[0], theirs[1])
        assert result[here + 1] == ours[here + 1]
    for kind in KINDS:
        np.testing.assert_array_equal(
            started["params"][f"{kind}_mask_head"]["fc1"]["kernel"], old["params"]["amodal_mask_head"]["fc1"]["kernel"]
        )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("model.heads.amodal-mask", "false", "model.heads.amodal_mask must be true"),
        ("model.occlusion.enabled", "true", "model.occlusion.enabled must be false"),
        ("model.mlc.enabled", "true", "model.mlc.enabled must be false"),
        ("model.network.hidden", "0", "model.network.hidden must be positive"),
        ("model.network.box-gradient-limit", "-1", "model.network.box_gradient_limit must not be negative"),
        ("model.network.mask-target-threshold", "0", "mask_target_threshold must be within"),
        ("model.roi.mask-size", "7", "model.roi.mask_size must be even"),
    ],
)
def test_what_does_not_fit_is_refused(option, value, message):
    with pytest.raises(ConfigError, match=message):
        override(micro_mnc(), [f"--{option}", value])


def test_amodal_masks_alone():
    config = micro_mnc(heads=HeadConfig(inmodal_mask=False))
    network, batch = build_network(config), micro_batch(1)
    variables = jax.eval_shape(lambda: initialise(network, config, jax.random.key(0)))
    assert network.mask_kinds == ("amodal",)
    terms = jax.eval_shape(lambda values: network.apply(values, batch, image_keys(1), method="losses"), variables)
    assert {name for name in terms if "mask" in name} == {
        *("amodal_mask", "mask_classification", "second_amodal_mask", "second_mask_classification")
    }
    found = jax.eval_shape(lambda values: network.apply(values, batch.images, batch.sizes, method="detect"), variables)
    assert found.inmodal_masks is None
