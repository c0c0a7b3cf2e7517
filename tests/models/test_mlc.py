import jax
import jax.numpy as jnp
import pytest

from amodal_jax.models.heads.mlc import MLCConfig, MultiLevelCoding, ReleasedMultiLevelCoding

CHANNELS = 4
CONV = 9 * CHANNELS * CHANNELS + CHANNELS  # C -> C
DOUBLE = 9 * (2 * CHANNELS) ** 2 + 2 * CHANNELS  # 2C -> 2C
HALVE = 9 * 2 * CHANNELS * CHANNELS + CHANNELS  # 2C -> C, also of the deconvolution


def _run(module):
    key = jax.random.key(0)
    box, occlusion = jax.random.normal(key, (2, 3, 7, 7, CHANNELS))
    mask = jax.random.normal(key, (3, 14, 14, CHANNELS))
    output, variables = module.init_with_output(key, box, occlusion, mask)
    return output, variables["params"], (box, occlusion, mask)


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        # The paper's kernel sizes (section 4.2): deconvolution 2C -> C, two C -> C; two 2C -> 2C, one 2C -> C.
        ({}, HALVE + 2 * CONV + 2 * DOUBLE + HALVE),
        ({"join_features": "add"}, CONV + 2 * CONV + 2 * DOUBLE + HALVE),
        ({"extraction_order": "special_last"}, 2 * DOUBLE + HALVE + 2 * DOUBLE + HALVE),
        ({"extraction_convolutions": 1}, HALVE + CONV + 2 * DOUBLE + HALVE),
        ({"extraction_convolutions": 3}, HALVE + 3 * CONV + 2 * DOUBLE + HALVE),
        ({"join_mask": "add"}, HALVE + 2 * CONV + 3 * CONV),
        ({"combination_order": "special_first"}, HALVE + 2 * CONV + HALVE + 2 * CONV),
        ({"combination_convolutions": 1}, HALVE + 2 * CONV + DOUBLE + HALVE),
        ({"combination_convolutions": 3}, HALVE + 2 * CONV + 3 * DOUBLE + HALVE),
    ],
)
def test_every_row_of_table_7_has_its_parameters_and_shape(changes, parameters):
    output, params, _ = _run(MultiLevelCoding(CHANNELS, MLCConfig(**changes)))
    assert output.shape == (3, 14, 14, CHANNELS)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_released_form_has_the_official_codes_parameters():
    output, params, _ = _run(ReleasedMultiLevelCoding(CHANNELS))
    deconv = 4 * CHANNELS * CHANNELS + CHANNELS
    assert output.shape == (3, 14, 14, CHANNELS)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == HALVE + deconv + CONV + HALVE + CONV


@pytest.mark.parametrize("module", [MultiLevelCoding(CHANNELS), ReleasedMultiLevelCoding(CHANNELS)])
@pytest.mark.parametrize("source", [0, 1, 2])
def test_each_input_reaches_the_output(module, source):
    _, params, inputs = _run(module)

    def total(value):
        changed = [*inputs[:source], value, *inputs[source + 1 :]]
        return jnp.sum(module.apply({"params": params}, *changed) ** 2)

    assert jnp.abs(jax.grad(total)(inputs[source])).max() > 0
