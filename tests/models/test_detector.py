import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import BackboneConfig, EvaluationConfig, HeadConfig, MLCConfig, OcclusionConfig
from amodal_jax.models import blocks
from amodal_jax.network import build_network, initialise
from amodal_jax.structures import SelectedBoxes
from amodal_jax.summary import summarise
from configs import load_config
from tests.helpers.micro import detections, image_keys, loss_and_gradients, loss_means, micro_batch, micro_config

NO_ASN = {"occlusion": OcclusionConfig(enabled=False), "mlc": MLCConfig(enabled=False)}
HEADS = HeadConfig(fc_channels=16, channels=8)


@pytest.fixture(scope="module")
def micro():
    config = micro_config()
    detector = build_network(config)
    return config, detector, initialise(detector, config, jax.random.key(0))


def test_every_parameter_gets_a_gradient(micro):
    _, detector, variables = micro
    batch, keys = micro_batch(2), image_keys(2)
    # The background's own mask and box deltas are never a target, so whole arrays are looked at, not single values.
    (_, means), gradients = loss_and_gradients(detector, variables, batch, keys)
    assert set(means) == {
        "rpn_objectness",
        "rpn_box",
        "classification",
        "box",
        "occlusion",
        "amodal_mask",
        "inmodal_mask",
    }
    assert all(np.isfinite(value) and value > 0 for value in means.values()), means
    silent = [path for path, leaf in jax.tree_util.tree_leaves_with_path(gradients) if not jnp.any(leaf)]
    assert not silent, [jax.tree_util.keystr(path) for path in silent]


def test_filler_images_change_no_loss(micro):
    _, detector, variables = micro
    batch, keys = micro_batch(2), image_keys(2)
    alone = jax.tree.map(lambda leaf: leaf[:1], batch)
    filled = batch.replace(
        valid=jnp.array([True, False]), truth=batch.truth.replace(valid=batch.truth.valid & np.array([[True], [False]]))
    )
    expected = loss_means(detector, variables, alone, keys[:1])
    found = loss_means(detector, variables, filled, keys)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_an_image_without_instances_trains_on_background_alone(micro):
    _, detector, variables = micro
    batch = micro_batch(1)
    batch = batch.replace(truth=batch.truth.replace(valid=np.zeros_like(batch.truth.valid)))
    means = loss_means(detector, variables, batch, image_keys(1))
    assert means["amodal_mask"] == means["inmodal_mask"] == means["box"] == means["rpn_box"] == 0
    assert means["classification"] > 0
    assert means["rpn_objectness"] > 0


def test_detections_are_ordered_masked_and_within_the_image(micro):
    _, detector, variables = micro
    batch = micro_batch(3)
    found = detections(detector, variables, batch.images, batch.sizes)
    assert found.amodal_masks.shape == found.inmodal_masks.shape == (3, 10, 28, 28)
    assert found.valid.any()
    assert (jnp.diff(found.scores, axis=1) <= 0).all()
    assert ((found.labels >= 0) & (found.labels < 7)).all()
    for image in range(3):
        boxes = np.asarray(found.boxes[image])[np.asarray(found.valid[image])]
        height, width = batch.sizes[image]
        assert (boxes >= 0).all()
        assert (boxes <= np.array([width, height, width, height]) + 1e-3).all()
    for values in (found.occluded, found.amodal_masks, found.inmodal_masks):
        assert ((values >= 0) & (values <= 1)).all()
        assert not values[~found.valid].any()


def test_blocks_of_the_second_pass_agree_with_one_large_block(micro, monkeypatch):
    config, _, variables = micro
    detector = build_network(
        dataclasses.replace(config, evaluation=EvaluationConfig(max_detections=10, score_threshold=0.0))
    )
    batch = micro_batch(2)
    found = []
    for size in (3, 10):
        monkeypatch.setattr(blocks, "BLOCK", size)
        detect = jax.jit(lambda v, images, sizes: detector.apply(v, images, sizes, method="detect"))  # traced anew
        found.append(detect(variables, batch.images, batch.sizes))
    for first, second in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(("found", "called"), [(0, 0), (5, 1), (33, 3)])
def test_the_second_pass_runs_over_what_is_there_whatever_the_room(found, called):
    calls = []

    def branches(boxes, labels):
        jax.debug.callback(lambda: calls.append(None))
        return boxes.sum(axis=-1)

    room = 1000
    boxes = jnp.ones((2, room, 4))
    valid = jnp.arange(room) < jnp.array([[found // 2], [found]])
    selected = SelectedBoxes(boxes, jnp.zeros((2, room)), jnp.zeros((2, room), jnp.int32), valid)
    sums = jax.jit(lambda selected: blocks.over_valid_blocks(branches, selected))(selected)
    jax.effects_barrier()
    assert len(calls) == called
    np.testing.assert_array_equal(sums, np.where(valid, 4, 0))


def test_the_other_image_of_a_batch_does_not_matter(micro):
    _, detector, variables = micro
    batch = micro_batch(2)
    together = detections(detector, variables, batch.images, batch.sizes)
    swapped = detections(detector, variables, batch.images[::-1], batch.sizes[::-1])
    np.testing.assert_allclose(together.boxes, swapped.boxes[::-1], atol=1e-3)
    np.testing.assert_allclose(together.amodal_masks, swapped.amodal_masks[::-1], atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": dataclasses.replace(HEADS, amodal_mask=False), **NO_ASN},
        {"heads": dataclasses.replace(HEADS, inmodal_mask=False, box="fc2"), **NO_ASN},
        {"mlc": MLCConfig(enabled=False)},
        {"mlc": MLCConfig(form="released", mask_layer=0)},
        {"mlc": MLCConfig(box_layer=0, mask_layer=3)},
        {"mlc": MLCConfig(box_layer=3, mask_layer=0)},
        {"backbone": BackboneConfig(depth=50, width=8), "compute_dtype": "bfloat16"},
    ],
)
def test_switches_give_the_branches_that_they_name(changes):
    config = micro_config(**changes)
    detector = build_network(config)
    variables = jax.eval_shape(lambda: initialise(detector, config, jax.random.key(0)))
    batch = micro_batch(1)
    terms = jax.eval_shape(lambda v: detector.apply(v, batch, image_keys(1), method="losses"), variables)
    found = jax.eval_shape(lambda v: detector.apply(v, batch.images, batch.sizes, method="detect"), variables)
    heads = config.model.heads
    assert ("amodal_mask" in terms) == (found.amodal_masks is not None) == heads.amodal_mask
    assert ("inmodal_mask" in terms) == (found.inmodal_masks is not None) == heads.inmodal_mask
    assert ("occlusion" in terms) == (found.occluded is not None) == config.model.occlusion.enabled
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    assert all(term.total.dtype == jnp.float32 for term in terms.values())
    assert found.boxes.dtype == found.scores.dtype == jnp.float32


def test_parameter_counts_follow_from_the_papers_kernel_sizes():
    parts = {part.name: part for part in summarise(load_config("asn_r50_fpn"))}
    conv = 256 * 256 * 9 + 256
    assert parts["backbone"].parameters + parts["backbone"].frozen // 2 == 23_508_032  # torchvision's ResNet-50, no fc
    assert parts["fpn"].parameters == 3_344_384  # torchvision's
    assert parts["rpn_head"].parameters == 593_935  # torchvision's
    assert parts["box_head"].parameters == parts["occlusion_head"].parameters == 4 * conv + 7 * 7 * 256 * 1024 + 1024
    assert parts["box_predictor"].parameters == 1025 * 8 * 5
    double, halve = 512 * 512 * 9 + 512, 512 * 256 * 9 + 256
    mlc = 2 * halve + 2 * conv + 2 * double
    plain = 4 * conv + (4 * 256 * 256 + 256) + 257 * 8
    assert parts["amodal_mask_head"].parameters == parts["inmodal_mask_head"].parameters == plain + mlc


@pytest.mark.parametrize(
    ("size", "target"),
    [((375, 1242), (800, 2649)), ((800, 800), (800, 800)), ((100, 1000), (300, 3000)), ((2000, 1000), (1600, 800))],
)
def test_images_are_resized_by_short_and_long_side_whatever_the_canvas(size, target):
    detector = build_network(load_config("asn_r50_fpn"))
    assert detector.preprocess.resized_sizes(jnp.array([size])).tolist() == [list(target)]
