"""What every network does, whatever it is made of: the kinds of parts and the configurations are found, not listed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config import HeadConfig
from amodal_jax.config_json import from_json, override, to_json
from amodal_jax.models.kinds import find_kind, kind_names
from amodal_jax.models.mask_heads import MaskConfig
from amodal_jax.models.necks import NeckConfig
from amodal_jax.models.networks import NetworkConfig
from amodal_jax.network import build_network, initialise
from configs import config_names, load_config
from tests.helpers.micro import detections, image_keys, loss_and_gradients, micro_batch, micro_config

SECTIONS = {"mask": MaskConfig, "neck": NeckConfig, "network": NetworkConfig}
KINDS = [(section, kind) for section, base in SECTIONS.items() for kind in kind_names(base)]
ONE_LEVEL = {"fcis", "mnc"}  # networks without branches that guide each other
# The queries of AISFormer's decoder begin at zero: of the values of its first attention there is the bias alone.
SILENT = {"aisformer": {"['mask_head']['decoder']['self_attention']['value']['kernel']"}}


def nudged(variables):
    """Variables of which none is zero, as some are at first, so that what they are multiplied by gets no gradient."""
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.01 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.mark.parametrize(("section", "kind"), KINDS)
def test_a_kind_of_part_trains_and_finds(section, kind):
    guided = section != "mask" or find_kind(MaskConfig, kind, "model.mask").takes_guidance
    branches = kind not in ONE_LEVEL
    choice = [f"--model.{section}.kind", kind, "--model.mlc.enabled", str(guided and branches)]
    choice += ["--model.occlusion.enabled", str(branches)]
    config = override(micro_config(heads=HeadConfig(fc_channels=16, channels=16)), choice)
    assert getattr(config.model, section).kind == kind
    assert from_json(to_json(config)) == config
    network = build_network(config)
    variables = initialise(network, config, jax.random.key(0))
    batch = micro_batch(2)

    moved = {**variables, "params": nudged(variables["params"])}
    (value, _), gradients = loss_and_gradients(network, moved, batch, image_keys(2))
    assert np.isfinite(value)
    assert value > 0
    leaves = jax.tree_util.tree_leaves_with_path(gradients)
    assert {jax.tree_util.keystr(path) for path, leaf in leaves if not jnp.any(leaf)} == SILENT.get(kind, set())
    found = detections(network, variables, batch.images, batch.sizes)
    assert found.valid.any()
    for name in ("amodal", "inmodal"):
        masks = getattr(found, f"{name}_masks")
        assert (masks is not None) == (name in network.mask_kinds)
        assert masks is None or ((masks >= 0) & (masks <= 1)).all()


@pytest.mark.parametrize("name", config_names())
def test_a_configuration_gives_a_network(name):
    """Its shapes alone: parameters, a loss of one image, its detections; and every layer is in one branch."""
    config = load_config(name)
    assert config.name == name
    assert from_json(to_json(config)) == config
    if not config.model.class_names:
        config = override(config, ["--model.class-names", "thing"])
    network = build_network(config)
    assert network.summary
    if "/" in name:
        return  # one of many variants, which differ in a field or two
    variables = jax.eval_shape(lambda: initialise(network, config, jax.random.key(0)))
    layers = {"/".join(key.key for key in path[1:]) for path, _ in jax.tree_util.tree_leaves_with_path(variables)}
    outside = [one for one in layers if not any(one.startswith(f"{branch.name}/") for branch in network.branches)]
    assert not outside
    canvas = (1, config.data.canvas_height, config.data.canvas_width, 3)
    images, sizes = (jax.ShapeDtypeStruct(canvas, np.uint8), jax.ShapeDtypeStruct((1, 2), np.int32))
    found = jax.eval_shape(lambda *inputs: network.apply(*inputs, method="detect"), variables, images, sizes)
    assert found.boxes.shape[-1] == 4
    assert {name for name in ("amodal", "inmodal") if getattr(found, f"{name}_masks") is not None} == set(
        network.mask_kinds
    )
