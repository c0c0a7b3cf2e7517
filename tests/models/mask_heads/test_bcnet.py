"""BCNet's head against a PyTorch re-creation, its losses against NumPy, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax import losses
from amodal_jax.config import HeadConfig, MLCConfig
from amodal_jax.config_json import from_json, override, to_json
from amodal_jax.errors import ConfigError
from amodal_jax.models.mask_heads.bcnet import BCNetConfig, BCNetMasks
from amodal_jax.network import build_network
from amodal_jax.summary import summarise
from configs import load_config
from tests.helpers.micro import image_keys, micro_config
from tests.helpers.occlusion_scene import CHANNELS, cross_entropy, scene_targets
from tests.helpers.zoo_golden import Golden

MAPS = ("occluder_mask", "occluder_boundary", "amodal_mask", "amodal_boundary", "inmodal_mask")
PLAIN = {"heads": HeadConfig(fc_channels=16, channels=16), "mlc": MLCConfig(enabled=False)}


def test_its_maps_and_gradients_are_those_of_the_pytorch_head():
    stage = BCNetMasks(BCNetConfig(), HeadConfig(channels=8))

    def apply(variables, inputs):
        found = stage.apply(variables, tuple(inputs), method="logits")
        return [found[name] for name in MAPS]

    Golden("bcnet", "head").check(lambda key, inputs: stage.init(key, tuple(inputs), method="logits"), apply)


def test_it_has_the_parameters_of_the_source():
    """With the amodal mask alone, its 6 296 580; the inmodal one is another deconvolution and output."""

    def count(inmodal):
        stage = BCNetMasks(BCNetConfig(), HeadConfig(inmodal_mask=inmodal))
        features = (jax.ShapeDtypeStruct((1, 14, 14, 256), jnp.float32),)
        shapes = jax.eval_shape(lambda pooled: stage.init(jax.random.key(0), pooled, method="logits"), features)
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert count(inmodal=False) == 6_296_580
    assert count(inmodal=True) == 6_296_580 + 262_657
    parts = {part.name: part.parameters for part in summarise(load_config("bcnet_r50_fpn"))}
    without_masks = 47_890_183 - 2 * 2_624_776  # of Mask R-CNN
    assert parts["all"] == without_masks + 6_296_580 + 262_657


@pytest.mark.parametrize("rule", ["overlap", "orders"])
def test_its_losses_are_those_of_numpy(rule):
    """The weights are the settings', and the occluder's terms are over the regions that see one."""
    config = BCNetConfig(occluders=rule, occluder_weight=0.3, boundary_weight=0.7)
    stage = BCNetMasks(config, HeadConfig(channels=CHANNELS))
    targets, features = scene_targets()
    variables = stage.init(jax.random.key(1), features, method="logits")
    # At first all logits are next to 0.
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 300 if "logits" in jax.tree_util.keystr(path) else leaf, variables
    )
    terms = stage.apply(variables, features, targets, (), image_keys(1), method="losses")
    logits = stage.apply(variables, features, method="logits")

    truth = {f"{kind}_mask": targets.masks(kind, 28) for kind in ("amodal", "inmodal")}
    truth["occluder_mask"] = targets.occluder(28, rule)
    truth = {name: np.asarray(masks) for name, masks in truth.items()}
    valid = np.asarray(targets.valid)
    hidden = valid & truth["occluder_mask"].any(axis=(1, 2))
    assert 0 < hidden.sum() < valid.sum() < len(valid)
    for name in ("amodal", "occluder"):
        truth[f"{name}_boundary"] = edges(truth[f"{name}_mask"])
    weights = {"occluder_mask": 0.3, "occluder_boundary": 0.7, "amodal_boundary": 0.7}
    assert terms.keys() == truth.keys()
    for name, term in terms.items():
        rows = hidden if name.startswith("occluder") else valid
        expected = weights.get(name, 1) * cross_entropy(logits[name][rows], truth[name][rows])
        np.testing.assert_allclose(losses.mean(term), expected, rtol=1e-4, err_msg=name)


def edges(masks):
    """Where a neighbour above, below or beside is another value, or the cell differs from one."""
    found = np.zeros(masks.shape, bool)
    found[:, 1:] |= masks[:, 1:] != masks[:, :-1]
    found[:, :-1] |= masks[:, 1:] != masks[:, :-1]
    found[:, :, 1:] |= masks[:, :, 1:] != masks[:, :, :-1]
    found[:, :, :-1] |= masks[:, :, 1:] != masks[:, :, :-1]
    return found


def test_without_an_occluder_its_terms_are_zero():
    targets, features = scene_targets(instances=1)
    stage = BCNetMasks(BCNetConfig(), HeadConfig(channels=CHANNELS))
    variables = stage.init(jax.random.key(1), features, method="logits")
    terms = stage.apply(variables, features, targets, (), image_keys(1), method="losses")
    assert losses.mean(terms["occluder_mask"]) == losses.mean(terms["occluder_boundary"]) == 0
    assert losses.mean(terms["amodal_mask"]) > 0


def test_it_has_the_masks_that_the_heads_ask_for():
    for inmodal, kinds in ((True, ("amodal", "inmodal")), (False, ("amodal",))):
        config = micro_config(**PLAIN | {"heads": dataclasses.replace(PLAIN["heads"], inmodal_mask=inmodal)})
        network = build_network(override(config, ["--model.mask.kind", "bcnet"]))
        assert network.mask_kinds == kinds
        assert "BCNet" in network.summary


def test_it_is_chosen_by_name_and_survives_json():
    config = override(micro_config(**PLAIN), ["--model.mask.kind", "bcnet", "--model.mask.occluders", "orders"])
    assert config.model.mask == BCNetConfig(occluders="orders")
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model.mlc.enabled", "true"], 'model.mlc.enabled must be false with model.mask.kind = "bcnet"'),
        (["--model.heads.amodal-mask", "false"], 'model.heads.amodal_mask must be true with model.mask.kind = "bcnet"'),
        (["--model.roi.pooling", "adaptive"], 'model.roi.pooling must be "by_size" with model.mask.kind = "bcnet"'),
        (["--model.heads.channels", "8"], "model.heads.channels must be model.fpn_channels = 16 with model.mask.kind"),
        (["--model.mask.occluders", "depth"], "model.mask.occluders must be one of overlap, orders"),
        (["--model.mask.occluder-weight", "-1"], "model.mask.occluder_weight must not be negative"),
        (["--model.mask.boundary-weight", "-1"], "model.mask.boundary_weight must not be negative"),
        (["--model.mask.fc-fusion", "true"], "unknown field model.mask.fc_fusion"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        override(micro_config(**PLAIN), ["--model.mask.kind", "bcnet", *arguments])
