"""The whole network against torchvision, stage by stage (golden files of scripts/regenerate_golden_detectors.py).

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
from amodal_jax.build import build_detector
from amodal_jax.config import Config
from amodal_jax.image_reader import read_image
from amodal_jax.layouts import torchvision
from amodal_jax.layouts.layout import Layout
from amodal_jax.models.targets import AnchorSamples, RoISamples
from amodal_jax.predict import Predictor
from amodal_jax.pretrained import convert_weights
from amodal_jax.structures import Batch, GroundTruth
from tests import seeded_detector as seeded

FOLDER = Path(__file__).parent / "golden" / "detectors"
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


def state_dict(layout: Layout, golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights that torchvision's model had."""
    shapes = {name: shape for one in layout.sources(seeded.CLASSES - 1).values() for name, shape in one.reads.items()}
    scales = {layer: float(golden[f"scale of {layer}"]) for layer in seeded.OUTPUTS}
    biases = {layer: golden[f"bias of {layer}"] for layer in seeded.OUTPUTS}
    return seeded.seeded_state(shapes, scales, biases)


def drawn_config(config: Config) -> Config:
    """The layout's network for the drawn batch, with every convolution trained."""
    model = config.model
    height, width = seeded.CANVAS
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            model,
            input=dataclasses.replace(
                model.input, short_side=seeded.SHORT_SIDE, long_side=seeded.LONG_SIDE, height=height, width=width
            ),
            backbone=dataclasses.replace(model.backbone, frozen_stages=0),
            rpn=dataclasses.replace(model.rpn, post_nms_test=seeded.PROPOSALS),
            roi=dataclasses.replace(model.roi, batch_size=seeded.REGIONS),
        ),
    )


def drawn_batch() -> Batch:
    count, canvas = len(seeded.SIZES), np.max(seeded.SIZES, axis=0)
    images = np.zeros((count, *canvas, 3), np.uint8)
    for index, (height, width) in enumerate(seeded.SIZES):
        images[index, :height, :width] = seeded.drawn_image(index)
    boxes, labels, crops = (np.stack(values) for values in zip(*map(seeded.drawn_truth, range(count)), strict=True))
    packed = np.packbits(crops, axis=-1)
    return Batch(
        images=images,
        sizes=np.array(seeded.SIZES, np.int32),
        image_ids=np.arange(count, dtype=np.int32),
        valid=np.ones(count, bool),
        truth=GroundTruth(
            boxes=boxes,
            labels=labels.astype(np.int32),
            occlusion_ratio=np.zeros(labels.shape, np.float32),
            amodal_crops=packed,
            inmodal_crops=packed,
            valid=np.ones(labels.shape, bool),
            crowd=np.zeros(labels.shape, bool),
        ),
    )


def given_samples(golden: dict[str, np.ndarray]) -> tuple[AnchorSamples, RoISamples]:
    """The anchors and regions that torchvision sampled, positive regions first."""
    anchors, regions = [], []
    for index in range(len(seeded.SIZES)):
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
        truth_labels = seeded.drawn_truth(index)[1]
        expected = truth_labels[golden[f"region_truth_{index}"][positive]] + 1
        np.testing.assert_array_equal(golden[f"region_labels_{index}"][positive], expected)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *anchors), jax.tree.map(
        lambda *leaves: np.stack(leaves), *regions
    )


def stages(detector: Any, batch: Batch, proposals: Any) -> dict[str, Any]:
    """Everything on the way to the heads' outputs, those for the given proposals [B, N, 4]."""
    levels = detector.features(batch.images, batch.sizes)
    logits, deltas = detector.rpn_head(levels)
    proposed = detector.propose(
        logits, deltas, detector.anchors(levels), detector.target_sizes(batch.sizes), train=False
    )
    hidden, _ = detector.box_head(detector.pool(levels, proposals, detector.box_cells))
    box_logits, box_deltas = detector.box_predictor(hidden)
    return {
        "levels": levels,
        "rpn": (logits, deltas),
        "proposed": proposed,
        "box_logits": box_logits,
        "box_deltas": box_deltas,
    }


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What both sides have of the drawn batch."""

    version: str
    golden: dict[str, np.ndarray]
    sources: dict[str, Any]
    stages: dict[str, Any]
    losses: dict[str, Any]
    gradients: Any


@pytest.fixture(scope="module", params=["v1", "v2"])
def drawn(request) -> Drawn:
    """One program computes the stages, the losses and the gradients, as compiling is what takes the time."""
    layout, golden = LAYOUTS[request.param], load(f"{request.param}_drawn")
    made = convert_weights(state_dict(layout, golden), source="the seeded weights")
    assert made.layout is layout
    detector = build_detector(drawn_config(made.config))
    batch, (anchor_samples, roi_samples) = drawn_batch(), given_samples(golden)
    proposals = np.stack([golden[f"proposals_{index}"] for index in range(len(seeded.SIZES))])

    @jax.jit
    def compute(variables, batch, proposals, anchor_samples, roi_samples):
        def loss(params):
            def whole(module):
                found = stages(module, batch, proposals)
                return found, module.loss_terms(found["levels"], found["rpn"], batch, anchor_samples, roi_samples)

            found, terms = detector.apply({**variables, "params": params}, method=whole)
            means = {name: losses.mean(term) for name, term in terms.items()}
            return sum(means.values()), (found, means)

        return jax.grad(loss, has_aux=True)(variables["params"])

    arguments = jax.tree.map(jnp.asarray, (made.variables, batch, proposals, anchor_samples, roi_samples))
    gradients, (found, means) = jax.device_get(compute(*arguments))
    return Drawn(request.param, golden, layout.sources(seeded.CLASSES - 1), found, means, gradients)


def assert_near(found: np.ndarray, expected: np.ndarray, relative: float, name: str) -> None:
    """The differences are small beside the values, as a whole and one by one beside the largest."""
    difference = np.abs(np.asarray(found, np.float64) - expected)
    assert np.linalg.norm(difference) <= relative * np.linalg.norm(expected), name
    assert difference.max() <= relative * np.abs(expected).max(), name


def test_pyramid(drawn):
    for number, level in enumerate(drawn.stages["levels"], start=2):
        expected = drawn.golden[f"p{number}"]
        assert_near(seeded.some_of(level, 1500, f"p{number}"), expected, 1e-3, f"p{number}")


def test_rpn_logits_and_deltas(drawn):
    for name, outputs in zip(("rpn_logits", "rpn_deltas"), drawn.stages["rpn"], strict=True):
        for number, level in enumerate(outputs, start=2):
            key = f"{name}{number}"
            assert_near(seeded.some_of(level, 1500, key), drawn.golden[key], 1e-3, key)


def test_the_same_proposals(drawn):
    proposed = drawn.stages["proposed"]
    for index in range(len(seeded.SIZES)):
        expected = drawn.golden[f"proposals_{index}"]
        assert len(expected) == seeded.PROPOSALS == proposed.valid[index].sum()
        np.testing.assert_allclose(proposed.boxes[index], expected, atol=0.02)


def test_box_logits_and_deltas(drawn):
    logits = seeded.some_of(drawn.stages["box_logits"], 4000, "box_logits")
    assert drawn.golden["box_logits"].std() > 1
    np.testing.assert_allclose(logits, drawn.golden["box_logits"], atol=1e-2)
    deltas = seeded.some_of(drawn.stages["box_deltas"], 4000, "box_deltas")
    np.testing.assert_allclose(deltas, drawn.golden["box_deltas"], atol=1e-2)


def test_losses(drawn):
    assert set(drawn.losses) == set(LOSSES)
    for ours, theirs in LOSSES.items():
        np.testing.assert_allclose(drawn.losses[ours], drawn.golden[theirs], rtol=1e-4, err_msg=ours)


def test_gradients_of_every_parameter(drawn):
    """By their norm and by their products with random directions, whose differences estimate the whole difference's."""
    compared = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(drawn.gradients):
        source = drawn.sources["params/" + "/".join(key.key for key in path)]
        ((name, shape),) = source.reads.items()
        norm, *products = drawn.golden[f"gradient of {name}"].astype(np.float64)
        assert norm > 0, name
        gradient = leaf.astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-4, err_msg=name)
        found = [np.vdot(source.make(direction), gradient) for direction in seeded.directions(name, shape)]
        difference = np.sqrt(np.mean((np.array(found) - products) ** 2))
        assert difference <= 1e-4 * norm, f"{name}: {difference / norm}"
        compared += 1
    assert compared == sum(name.startswith("gradient of ") for name in drawn.golden)


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
