"""The network with detectron2's weights against PyTorch layers, stage by stage.

The golden file is of tests/golden/regenerate/detectron2.py. Shape shorthand: N proposals, D detections.
"""

import dataclasses
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.models.necks import LEVEL_STRIDES
from amodal_jax.network import build_network
from amodal_jax.ops.boxes import pairwise_iou
from amodal_jax.ops.roi_align import ADAPTING_SAMPLES, multilevel_roi_align
from amodal_jax.weights.convert import convert_weights
from amodal_jax.weights.files import read_weights
from amodal_jax.weights.layouts import detectron2
from tests.helpers import seeded_detectron2 as own
from tests.helpers.seeded_detector import some_of

GOLDEN = Path(__file__).parents[1] / "golden" / "detectors" / "detectron2.npz"
CANVAS = (160, 448)  # P6, of 3 rows, is not half of P5


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def made(golden, tmp_path_factory):
    """What a pickle as detectron2 writes them becomes."""
    layout = next(layout for layout in detectron2.LAYOUTS if layout.title == "detectron2's mask_rcnn_R_50_FPN")
    shapes = {name: shape for one in layout.sources(own.CLASSES).values() for name, shape in one.reads.items()}
    scales = own.SCALES | {layer: float(golden[f"scale of {layer}"]) for layer in own.OUTPUTS}
    biases = {layer: golden[f"bias of {layer}"] for layer in own.OUTPUTS}
    state = own.state(shapes, scales, biases)
    path = tmp_path_factory.mktemp("weights") / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"}, protocol=2))
    return convert_weights(read_weights(path), source=path.name)


@pytest.fixture(scope="module")
def found(golden, made):
    """Our stages, the heads on the reference's proposals, with a fixed number of samples and with adapting ones."""
    model = made.config.model
    # The image is of the network's size already.
    height, width = golden["image"].shape[:2]
    canvas = dataclasses.replace(model.input, short_side=height, long_side=width, height=CANVAS[0], width=CANVAS[1])
    rpn = dataclasses.replace(model.rpn, post_nms_test=own.PROPOSALS)
    roi = dataclasses.replace(model.roi, sampling_ratio=own.SAMPLING_RATIO)
    config = dataclasses.replace(made.config, model=dataclasses.replace(model, input=canvas, rpn=rpn, roi=roi))
    image, size = golden["image"][None], np.array([[height, width]], np.int32)

    def stages(module, images, sizes, proposals):
        inputs = module.preprocess(images, sizes)
        levels, scores = module.features(inputs)
        box_head, box_predictor = module.boxes.box_head, module.boxes.box_predictor
        adapting = multilevel_roi_align(
            [level[0] for level in levels[:4]],
            proposals[0],
            model.roi.box_size,
            strides=LEVEL_STRIDES[:4],
            sampling_ratio=model.roi.sampling_ratio,
            aligned=model.roi.aligned,
        )
        return {
            "p": levels,
            "rpn_logits": scores.logits,
            "rpn_deltas": scores.deltas,
            "anchors": [anchor[None] for anchor in scores.anchors],
            "proposals": module.rpn.propose(scores, sizes, train=False),
            "fixed": box_predictor(box_head(module.pooling(levels, proposals, model.roi.box_size))[0]),
            "pooled": adapting,
            "adapting": box_predictor(box_head((adapting,))[0]),
            "detections": module.detect(images, sizes),
        }

    detector = build_network(config)
    run = jax.jit(lambda *arguments: detector.apply(*arguments, method=stages))
    return jax.device_get(run(made.variables, image, size, golden["proposals"][None]))


def relative_error(ours, expected):
    """The largest difference over the largest expected value."""
    return np.abs(ours - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("level", range(2, 7))
@pytest.mark.parametrize("name", ["p", "rpn_logits", "rpn_deltas", "anchors"])
def test_the_pyramid_the_rpn_and_the_anchors(golden, found, name, level):
    key = f"{name}{level}"
    assert relative_error(some_of(found[name][level - 2][0], 1500, key), golden[key]) < 1e-4


def test_the_proposals(golden, found):
    """In the same order; a few may differ where scores or overlaps are equal but for rounding."""
    ours, expected = found["proposals"].boxes[0], golden["proposals"]
    assert len(expected) == own.PROPOSALS == found["proposals"].valid.sum()
    overlaps = np.asarray(pairwise_iou(jnp.asarray(ours), jnp.asarray(expected)))
    assert (overlaps.max(axis=0) > 0.999).mean() > 0.99
    assert (np.diagonal(overlaps) > 0.999).mean() > 0.9


def check_box_branch(ours, expected_logits, expected_deltas, limit):
    """Ours has the background first, and values for it where detectron2 has none."""
    logits, deltas = ours
    assert relative_error(logits, np.roll(expected_logits, 1, axis=1)) < limit
    assert relative_error(deltas[:, 1:].reshape(len(deltas), -1), expected_deltas) < limit


def test_the_box_branch(golden, found):
    check_box_branch(found["fixed"], golden["fixed box_logits"], golden["fixed box_deltas"], 1e-4)


def test_samples_that_adapt_to_the_region(golden, found):
    """As detectron2's, but for regions so long that they take more samples than we have."""
    proposals = golden["proposals"]
    sides = proposals[:, 2:] - proposals[:, :2]
    level = np.clip(np.floor(4 + np.log2(np.sqrt(sides.prod(axis=1)) / 224 + 1e-8)), 2, 5)
    exact = (sides.max(axis=1) / 2**level <= 7 * ADAPTING_SAMPLES - 1e-3) & (sides.min(axis=1) > 1e-3)
    assert 0.8 < exact.mean() < 1
    ours, expected = found["pooled"][:, ::2, ::2, ::64], golden["pooled"]
    assert relative_error(ours[exact], expected[exact]) < 1e-4
    logits, deltas = (golden[f"adapting box_{kind}"] for kind in ("logits", "deltas"))
    check_box_branch([one[exact] for one in found["adapting"]], logits[exact], deltas[exact], 1e-4)
    deviation = np.sqrt(np.mean((found["adapting"][0] - np.roll(logits, 1, axis=1)) ** 2)) / logits.std()
    fixed = np.sqrt(np.mean((found["fixed"][0] - np.roll(logits, 1, axis=1)) ** 2)) / logits.std()
    assert deviation < 0.02 < fixed


def test_what_is_found(golden, found):
    assert len(np.unique(golden["fixed labels"])) > 2
    ours = found["detections"]
    overlaps = np.asarray(pairwise_iou(jnp.asarray(golden["fixed boxes"]), jnp.asarray(ours.boxes[0])))
    same = (golden["fixed labels"][:, None] == ours.labels) & ours.valid
    near = np.abs(golden["fixed scores"][:, None] - ours.scores) < 2e-3
    good = np.where(same & near, overlaps, 0)
    assert (good.max(axis=1) > 0.99).mean() >= 0.98
    kept = [index for index in range(own.MASKS) if good[index].max() > 0.99]
    assert len(kept) >= own.MASKS - 1
    for index in kept:
        masks = ours.inmodal_masks[0, good[index].argmax()]
        np.testing.assert_allclose(masks, golden["fixed masks"][index], atol=1e-3)
