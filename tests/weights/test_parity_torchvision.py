"""The whole network against torchvision, stage by stage (golden files of tests/golden/regenerate/torchvision.py).

Shape shorthand: B images, N proposals, S sampled regions.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax import losses
from amodal_jax.config import Config
from amodal_jax.files.image_reader import read_image
from amodal_jax.network import build_network
from amodal_jax.predict import Predictor
from amodal_jax.structures import AnchorSamples, Batch, GroundTruth, RoISamples
from amodal_jax.weights.convert import convert_weights
from amodal_jax.weights.layouts import torchvision
from amodal_jax.weights.layouts.layout import Layout
from tests.helpers import seeded_detector as seeded

FOLDER = Path(__file__).parents[1] / "golden" / "detectors"
LAYOUTS = {"v1": torchvision.DETECTORS[0], "v2": torchvision.DETECTORS[2]}
FRAMES = ("000003", "000008")
LOSSES = {
    "rpn_objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "classification": "loss_classifier",
    "box": "loss_box_reg",
    "inmodal_mask": "loss_mask",
}


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def state_dict(layout: Layout, golden: dict[str, np.ndarray], *, centred: bool = False) -> dict[str, np.ndarray]:
    """The weights that torchvision's model had."""
    shapes = {name: shape for one in layout.sources(seeded.CLASSES - 1).values() for name, shape in one.reads.items()}

    def given(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(kind): value for name, value in golden.items() if name.startswith(kind)}

    scales = {name: float(factor) for name, factor in given("scale of ").items()}
    return seeded.seeded_state(shapes, scales, given("value of "), centred=centred)


def drawn_config(config: Config, batch: seeded.DrawnBatch) -> Config:
    """The layout's network for a drawn batch, with every convolution trained."""
    model = config.model
    height, width = batch.canvas
    model_input = dataclasses.replace(
        model.input, short_side=batch.short_side, long_side=seeded.LONG_SIDE, height=height, width=width
    )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            model,
            input=model_input,
            backbone=dataclasses.replace(model.backbone, frozen_stages=0),
            rpn=dataclasses.replace(model.rpn, post_nms_test=batch.proposals),
            roi=dataclasses.replace(model.roi, batch_size=batch.regions),
        ),
    )


def as_batch(drawn: seeded.DrawnBatch) -> Batch:
    count, canvas = len(drawn.sizes), np.max(drawn.sizes, axis=0)
    images = np.zeros((count, *canvas, 3), np.uint8)
    for index, (height, width) in enumerate(drawn.sizes):
        images[index, :height, :width] = drawn.image(index)
    boxes, labels, crops = (np.stack(values) for values in zip(*map(drawn.truth, range(count)), strict=True))
    packed = np.packbits(crops, axis=-1)
    return Batch(
        images=images,
        sizes=np.array(drawn.sizes, np.int32),
        image_ids=np.arange(count, dtype=np.int32),
        valid=np.ones(count, bool),
        truth=GroundTruth(
            boxes=boxes,
            labels=labels.astype(np.int32),
            occlusion_ratio=np.zeros(labels.shape, np.float32),
            amodal_crops=packed,
            inmodal_crops=packed,
            cluster=np.full(labels.shape, -1, np.int32),
            order=np.full(labels.shape, -1, np.int32),
            valid=np.ones(labels.shape, bool),
            crowd=np.zeros(labels.shape, bool),
        ),
    )


def given_samples(golden: dict[str, np.ndarray]) -> tuple[AnchorSamples, RoISamples]:
    """The anchors and regions that torchvision sampled, positive regions first."""
    anchors, regions = [], []
    for index in range(len(seeded.TRAINING.sizes)):
        anchor_indices = golden[f"anchors_{index}"]
        places = np.arange(len(anchor_indices))
        anchors.append(
            AnchorSamples(
                indices=anchor_indices,
                truth_index=golden[f"anchor_truth_{index}"].astype(np.int32),
                positive=places < golden[f"positive_anchors_{index}"],
                valid=np.ones(len(places), bool),
            )
        )
        positive = golden[f"region_labels_{index}"] > 0
        order = np.argsort(~positive, kind="stable")
        regions.append(
            RoISamples(
                boxes=golden[f"regions_{index}"][order],
                truth_index=golden[f"region_truth_{index}"][order].astype(np.int32),
                positive=positive[order],
                valid=np.ones(len(order), bool),
            )
        )
        truth_labels = seeded.TRAINING.truth(index)[1]
        expected = truth_labels[golden[f"region_truth_{index}"][positive]] + 1
        np.testing.assert_array_equal(golden[f"region_labels_{index}"][positive], expected)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *anchors), jax.tree.map(
        lambda *leaves: np.stack(leaves), *regions
    )


@dataclasses.dataclass(frozen=True)
class Stages:
    """What both sides have on the way from images to the heads' outputs."""

    golden: dict[str, np.ndarray]
    levels: Any
    rpn: Any
    proposed: Any
    box_logits: Any
    box_deltas: Any


@pytest.fixture(scope="module", params=["v1", "v2"])
def stages(request) -> Stages:
    layout, golden = LAYOUTS[request.param], load(f"{request.param}_stages")
    made = convert_weights(state_dict(layout, golden), source="the seeded weights")
    assert made.layout is layout
    detector = build_network(drawn_config(made.config, seeded.STAGES))
    batch = as_batch(seeded.STAGES)
    # The heads see torchvision's proposals.
    given = np.stack([golden[f"proposals_{index}"] for index in range(len(seeded.STAGES.sizes))])

    @jax.jit
    def compute(variables, images, sizes, given):
        def whole(module):
            inputs = module.preprocess(images, sizes)
            levels, scores = module.features(inputs)
            proposed = module.rpn.propose(scores, inputs.sizes, train=False)
            hidden, _ = module.boxes.box_head(module.pooling(levels, given, 7))
            return levels, (scores.logits, scores.deltas), proposed, *module.boxes.box_predictor(hidden)

        return detector.apply(variables, method=whole)

    arguments = jax.tree.map(jnp.asarray, (made.variables, batch.images, batch.sizes, given))
    return Stages(golden, *jax.device_get(compute(*arguments)))


@dataclasses.dataclass(frozen=True)
class Training:
    """What both sides have of a training step."""

    golden: dict[str, np.ndarray]
    sources: dict[str, Any]
    losses: dict[str, Any]
    gradients: Any


@pytest.fixture(scope="module")
def training() -> Training:
    layout, golden = LAYOUTS["v1"], load("v1_training")
    made = convert_weights(state_dict(layout, golden, centred=True), source="the seeded weights")
    detector = build_network(drawn_config(made.config, seeded.TRAINING))

    @jax.jit
    def compute(variables, batch, anchor_samples, roi_samples):
        def loss(params):
            def whole(module):
                inputs = module.preprocess(batch.images, batch.sizes, batch.truth)
                levels, scores = module.features(inputs)
                keys = jax.random.split(jax.random.key(0), len(batch.images))
                return module.loss_terms(levels, scores, anchor_samples, roi_samples, inputs.truth, keys)

            terms = detector.apply({**variables, "params": params}, method=whole)
            means = {name: losses.mean(term) for name, term in terms.items()}
            return sum(means.values()), means

        return jax.grad(loss, has_aux=True)(variables["params"])

    arguments = (made.variables, as_batch(seeded.TRAINING), *given_samples(golden))
    gradients, means = jax.device_get(compute(*jax.tree.map(jnp.asarray, arguments)))
    return Training(golden, layout.sources(seeded.CLASSES - 1), means, gradients)


def assert_near(found: np.ndarray, expected: np.ndarray, relative: float, name: str) -> None:
    """The differences are small beside the values, as a whole and one by one beside the largest."""
    difference = np.abs(np.asarray(found, np.float64) - expected)
    assert np.linalg.norm(difference) <= relative * np.linalg.norm(expected), name
    assert difference.max() <= relative * np.abs(expected).max(), name


def test_pyramid(stages):
    for number, level in enumerate(stages.levels, start=2):
        expected = stages.golden[f"p{number}"]
        assert_near(seeded.some_of(level, 1000, f"p{number}"), expected, 1e-3, f"p{number}")


def test_rpn_logits_and_deltas(stages):
    for name, outputs in zip(("rpn_logits", "rpn_deltas"), stages.rpn, strict=True):
        for number, level in enumerate(outputs, start=2):
            key = f"{name}{number}"
            assert_near(seeded.some_of(level, 1000, key), stages.golden[key], 1e-3, key)


def test_the_same_proposals(stages):
    """In the same order, but that torchvision orders by the logits' sigmoids, of which neighbours may be equal."""
    for index in range(len(seeded.STAGES.sizes)):
        expected = stages.golden[f"proposals_{index}"]
        assert len(expected) == seeded.STAGES.proposals == stages.proposed.valid[index].sum()
        distances = np.abs(expected[:, None] - stages.proposed.boxes[index]).max(axis=-1)
        assert distances.min(axis=1).max() < 0.02
        places = distances.argmin(axis=1)
        assert len(set(places)) == len(places)
        assert np.abs(places - np.arange(len(places))).max() <= 2


def test_box_logits_and_deltas(stages):
    logits = seeded.some_of(stages.box_logits, 3000, "box_logits")
    assert stages.golden["box_logits"].std() > 1
    np.testing.assert_allclose(logits, stages.golden["box_logits"], atol=1e-2)
    deltas = seeded.some_of(stages.box_deltas, 3000, "box_deltas")
    np.testing.assert_allclose(deltas, stages.golden["box_deltas"], atol=1e-2)


def test_losses_of_a_training_step(training):
    assert set(training.losses) == set(LOSSES)
    for ours, theirs in LOSSES.items():
        np.testing.assert_allclose(training.losses[ours], training.golden[theirs], rtol=1e-4, err_msg=ours)


def test_gradients_of_every_parameter(training):
    """By their norm and by their products with random directions, whose differences estimate the whole difference's."""
    compared = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(training.gradients):
        source = training.sources["params/" + "/".join(key.key for key in path)]
        ((name, shape),) = source.reads.items()
        norm, *products = training.golden[f"gradient of {name}"].astype(np.float64)
        assert norm > 0, name
        gradient = leaf.astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-4, err_msg=name)
        found = [np.vdot(source.make(direction), gradient) for direction in seeded.directions(name, shape)]
        difference = np.sqrt(np.mean((np.array(found) - products) ** 2))
        assert difference <= 1e-4 * norm, f"{name}: {difference / norm}"
        compared += 1
    assert compared == sum(name.startswith("gradient of ") for name in training.golden)


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[n, m], in double precision."""
    boxes, others = boxes.astype(np.float64), others.astype(np.float64)
    corners = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    common = np.maximum(corners, 0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (boxes, others)]
    return common / (areas[0][:, None] + areas[1] - common)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_detections_on_real_frames(version, sample_data):
    golden = load(f"{version}_kitti")
    predictor = Predictor.from_torchvision(
        state_dict(LAYOUTS[version], golden), num_classes=8, min_size=384, max_size=1280
    )
    images = [read_image(sample_data / "kitti" / "image_2" / f"{frame}.png") for frame in FRAMES]
    for frame, image, found in zip(FRAMES, images, predictor(images), strict=True):
        boxes, scores, labels = (golden[f"{frame} {name}"] for name in ("boxes", "scores", "labels"))
        assert len(scores) > 30
        assert len(set(labels.tolist())) > 3
        near = box_iou(boxes, found.boxes) > 0.99
        near &= labels[:, None] == found.labels + 1
        near &= np.abs(scores[:, None] - found.scores) < 2e-3
        assert near.any(axis=1).mean() >= 0.98
        assert near.any(axis=0).mean() >= 0.98  # nothing else is found

        masks = np.unpackbits(golden[f"{frame} masks"], axis=-1, count=image.shape[1]).astype(bool)
        assert found.amodal_masks is None
        overlaps = []
        for place, mask in zip(golden[f"{frame} chosen"], masks, strict=True):
            if near[place].any():
                other = found.inmodal_masks[np.argmax(near[place])]
                assert mask.any()
                overlaps.append((mask & other).sum() / (mask | other).sum())
        assert np.median(overlaps) >= 0.99
