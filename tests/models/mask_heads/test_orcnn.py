import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax import losses
from amodal_jax.config import HeadConfig, MLCConfig, OcclusionConfig
from amodal_jax.config_json import from_json, override, to_json
from amodal_jax.errors import ConfigError
from amodal_jax.models.mask_heads.orcnn import ORCNNConfig
from amodal_jax.models.mask_targets import MaskTargets
from amodal_jax.network import build_network
from amodal_jax.structures import RoISamples
from amodal_jax.summary import summarise
from configs import load_config
from tests.helpers.micro import micro_batch, micro_config

PLAIN = {"occlusion": OcclusionConfig(enabled=False), "mlc": MLCConfig(enabled=False)}


def test_it_has_the_parameters_of_mask_rcnn_with_two_masks():
    of_all = {part.name: part.parameters for part in summarise(load_config("orcnn_r50_fpn"))}
    assert of_all == {part.name: part.parameters for part in summarise(load_config("mask_rcnn_r50_fpn"))}
    assert of_all["all"] == 47_890_183


def test_the_invisible_part_is_trained_by_the_difference_of_the_two_masks():
    """Against the same written out in NumPy; a region of an image with an object that hides another one partly."""
    stage = ORCNNConfig().build(micro_config(**PLAIN).model)
    batch = micro_batch(1)
    boxes = batch.truth.boxes[:, :3]
    samples = RoISamples(boxes, jnp.arange(3)[None], jnp.ones((1, 3), bool), jnp.array([[True, True, False]]))
    targets = MaskTargets.of(samples, batch.truth, 3)
    features = (jax.random.normal(jax.random.key(0), (3, 14, 14, 16)),)
    variables = stage.init(jax.random.key(1), features, targets.labels, (), method="masks")
    variables = jax.tree.map(lambda leaf: leaf * 30 if leaf.shape[-1] == 8 and leaf.ndim == 4 else leaf, variables)
    keys = jax.random.split(jax.random.key(2), 1)
    terms = stage.apply(variables, features, targets, (), keys, method="losses")
    logits = stage.apply(variables, features, targets.labels, (), method="logits")
    assert set(terms) == {"amodal_mask", "inmodal_mask", "invisible_mask"}

    amodal, inmodal = (np.asarray(logits[kind][:2], np.float64) for kind in ("amodal", "inmodal"))
    invisible = amodal - np.maximum(inmodal, 0)
    truth = {kind: np.asarray(targets.masks(kind, 28)[:2]).astype(bool) for kind in ("amodal", "inmodal")}
    hidden = truth["amodal"] ^ truth["inmodal"]
    assert 0 < hidden.mean() < 1
    expected = (np.logaddexp(0, invisible) - invisible * hidden).mean()
    np.testing.assert_allclose(losses.mean(terms["invisible_mask"]), expected, rtol=1e-4)


def test_it_is_chosen_by_name_and_survives_json():
    config = override(micro_config(**PLAIN), ["--model.mask.kind", "orcnn"])
    assert config.model.mask == ORCNNConfig()
    assert from_json(to_json(config)) == config
    assert "invisible part by difference" in build_network(config).summary


def test_one_kind_of_mask_is_refused():
    heads = HeadConfig(inmodal_mask=False)
    with pytest.raises(ConfigError, match="model.heads.inmodal_mask must be true with model.mask.kind"):
        dataclasses.replace(micro_config(**PLAIN).model, heads=heads, mask=ORCNNConfig())
