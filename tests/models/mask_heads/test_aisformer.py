"""AISFormer's head against a PyTorch re-creation, its losses against NumPy, its dropout, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax import losses
from amodal_jax.config import HeadConfig, MLCConfig
from amodal_jax.config_json import from_json, override, to_json
from amodal_jax.errors import ConfigError
from amodal_jax.models.mask_heads.aisformer import AISFormerConfig, AISFormerHead, AISFormerMasks
from amodal_jax.network import build_network
from amodal_jax.summary import summarise
from configs import load_config
from tests.helpers.micro import image_keys, micro_config
from tests.helpers.occlusion_scene import CHANNELS, cross_entropy, scene_targets
from tests.helpers.zoo_golden import Golden

MASKS = ("inmodal", "occluder", "amodal", "invisible")
SMALL = {"feedforward_channels": 24}
PLAIN = {"heads": HeadConfig(fc_channels=16, channels=8), "mlc": MLCConfig(enabled=False)}


@pytest.mark.parametrize("rematerialise", [False, True])
def test_its_masks_and_gradients_are_those_of_the_pytorch_head(rematerialise):
    config = AISFormerConfig(**SMALL, rematerialise=rematerialise)
    head = AISFormerHead(config, HeadConfig(channels=8), jnp.float32)

    def apply(variables, inputs):
        found = head.apply(variables, tuple(inputs))
        return [found[name] for name in MASKS]

    Golden("aisformer", "head").check(lambda key, inputs: head.init(key, tuple(inputs)), apply)


def test_it_has_the_parameters_of_the_source():
    """Its 4 220 930 but for the weight and the bias of a 1x1 convolution of one channel that nothing there calls."""
    parts = {part.name: part.parameters for part in summarise(load_config("aisformer_r50_fpn"))}
    assert parts["mask_head"] == 4_220_930 - 2
    without_masks = 47_890_183 - 2 * 2_624_776  # of Mask R-CNN
    assert parts["all"] == without_masks + parts["mask_head"]


def test_layers_start_as_in_the_source():
    head = AISFormerHead(AISFormerConfig(), HeadConfig(channels=64), jnp.float32)
    params = head.init(jax.random.key(0), (jnp.zeros((1, 4, 4, 64)),))["params"]

    def assert_uniform(values, bound):
        assert 0.98 * bound < np.abs(values).max() <= bound

    for table in ("rows", "columns"):
        values = params[table]["values"]
        assert values.shape == (50, 32)
        assert values.min() >= 0
        assert_uniform(values, 1)
    np.testing.assert_allclose(params["queries"]["values"].std(), 1, atol=0.15)
    np.testing.assert_allclose(params["pixels"]["dense"]["kernel"].std(), 0.001, rtol=0.1)
    dense = params["encoder"]["feed_forward"]
    for layer, inputs in (("dense1", 64), ("dense2", 2048)):
        for name in ("kernel", "bias"):
            assert 0.9 / np.sqrt(inputs) < np.abs(dense[layer][name]).max() <= 1 / np.sqrt(inputs)
    assert_uniform(params["mask_embedding"]["dense1"]["kernel"], np.sqrt(6 / 128))
    assert_uniform(params["invisible_embedding"]["dense1"]["kernel"], np.sqrt(6 / 192))


def make_stage(**settings):
    """A stage, its variables with clear logits, the targets and the features."""
    stage = AISFormerMasks(AISFormerConfig(**SMALL, **settings), HeadConfig(channels=CHANNELS))
    targets, features = scene_targets()
    variables = stage.init(jax.random.key(1), features, targets.labels, (), method="masks")
    pixels = variables["params"]["mask_head"]["pixels"]["dense"]
    pixels["kernel"] = pixels["kernel"] * 300
    return stage, variables, targets, features


@pytest.mark.parametrize("rule", ["overlap", "orders"])
def test_its_losses_are_those_of_numpy(rule):
    """The weights are the settings', and the occluder's term is over the regions that see one."""
    stage, variables, targets, features = make_stage(
        occluders=rule, occluder_weight=0.3, invisible_weight=0.7, dropout=0.0
    )
    terms = stage.apply(variables, features, targets, (), image_keys(1), method="losses")
    logits = stage.bind(variables).mask_head(features)
    occluder = np.asarray(targets.occluder(28, rule))
    valid = np.asarray(targets.valid)
    hidden = valid & occluder.any(axis=(1, 2))
    assert 0 < hidden.sum() < valid.sum() < len(valid)
    masks = {kind: np.asarray(targets.masks(kind, 28)) for kind in ("amodal", "inmodal")}
    expected = {f"{kind}_mask": cross_entropy(logits[kind][valid], masks[kind][valid]) for kind in masks}
    expected["occluder_mask"] = 0.3 * cross_entropy(logits["occluder"][hidden], occluder[hidden])
    invisible = masks["amodal"] != masks["inmodal"]
    expected["invisible_mask"] = 0.7 * cross_entropy(logits["invisible"][valid], invisible[valid])
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses.mean(terms[name]), value, rtol=1e-4, err_msg=name)


def test_training_drops_by_the_keys_and_inference_does_not():
    stage, variables, targets, features = make_stage(dropout=0.3)

    @jax.jit
    def term(variables, features, keys):
        terms = stage.apply(variables, features, targets, (), keys, method="losses")
        return losses.mean(terms["amodal_mask"])

    first, again, other = (term(variables, features, image_keys(1, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    masks = stage.apply(variables, features, targets.labels, (), method="masks")
    still = AISFormerMasks(AISFormerConfig(**SMALL, dropout=0.0), HeadConfig(channels=CHANNELS))
    without = still.apply(variables, features, targets.labels, (), method="masks")
    assert masks.keys() == without.keys() == {"amodal", "inmodal"}
    for kind, of_kind in masks.items():
        np.testing.assert_array_equal(of_kind, without[kind])


def test_rematerialising_changes_no_value_and_keeps_no_scores():
    """The encoder's attention, of a region and head 784 x 784 values, is among what is kept only without it."""
    found = []
    for rematerialise in (False, True):
        stage, variables, targets, features = make_stage(rematerialise=rematerialise)

        def total(params, features, stage=stage, targets=targets):
            terms = stage.apply(params, features, targets, (), image_keys(1), method="losses")
            return sum(map(losses.mean, terms.values()))

        kept = jax.tree.leaves(
            jax.eval_shape(lambda *inputs, total=total: jax.vjp(total, *inputs)[1], variables, features)
        )
        scores = any(one.shape[-2:] == (784, 784) for one in kept)
        found.append((scores, jax.jit(jax.value_and_grad(total))(variables, features)))
    (kept, one), (kept_again, other) = found
    assert kept
    assert not kept_again
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5 * np.abs(left).max())


def test_it_takes_features_of_all_levels():
    """Adaptive feature pooling: its first convolution once a level."""
    config = override(micro_config(**PLAIN), ["--model.mask.kind", "aisformer", "--model.roi.pooling", "adaptive"])
    parts = {part.name: part.parameters for part in summarise(config)}
    plain = {part.name: part.parameters for part in summarise(override(config, ["--model.roi.pooling", "by_size"]))}
    convolution = 9 * 16 * 8 + 8
    assert parts["mask_head"] == plain["mask_head"] + 3 * convolution


def test_it_is_chosen_by_name_and_survives_json():
    config = override(micro_config(**PLAIN), ["--model.mask.kind", "aisformer", "--model.mask.dropout", "0.2"])
    assert config.model.mask == AISFormerConfig(dropout=0.2)
    assert from_json(to_json(config)) == config
    assert "AISFormer" in build_network(config).summary


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model.mlc.enabled", "true"], 'model.mlc.enabled must be false with model.mask.kind = "aisformer"'),
        (["--model.heads.amodal-mask", "false"], 'model.heads.amodal_mask must be true with model.mask.kind = "aisf'),
        (["--model.heads.inmodal-mask", "false"], 'model.heads.inmodal_mask must be true with model.mask.kind = "ai'),
        (["--model.heads.channels", "7"], "model.heads.channels must be even with model.mask.kind"),
        (["--model.mask.attention-heads", "3"], "model.mask.attention_heads must divide model.heads.channels = 8"),
        (["--model.mask.attention-heads", "0"], "model.mask.attention_heads must be positive"),
        (["--model.mask.feedforward-channels", "0"], "model.mask.feedforward_channels must be positive"),
        (["--model.mask.dropout", "1"], r"model.mask.dropout must be within \[0, 1\)"),
        (["--model.mask.occluder-weight", "-1"], "model.mask.occluder_weight must not be negative"),
        (["--model.mask.invisible-weight", "-1"], "model.mask.invisible_weight must not be negative"),
        (["--model.roi.mask-size", "26"], "model.roi.mask_size must be at most 25 with model.mask.kind"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        override(micro_config(**PLAIN), ["--model.mask.kind", "aisformer", *arguments])
