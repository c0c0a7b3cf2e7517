import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.models.heads.convolutions import CONVOLUTIONS, ConvolutionBranch, HeadConfig
from amodal_jax.models.heads.mask import MaskHead
from amodal_jax.models.heads.mlc import MultiLevelCoding


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_guidance_joins_after_the_layer_that_it_is_told_to(layer):
    """Where a convolution is silenced that comes after the guidance, none of it gets through; before it, all does."""
    head = MaskHead(4, 3, mlc=MultiLevelCoding(4), mlc_layer=layer)
    features, *guidance = (
        jax.random.normal(jax.random.key(seed), (2, side, side, 4)) for seed, side in enumerate((14, 7, 7))
    )
    variables = head.init(jax.random.key(3), (features,), guidance)
    reaches = []
    for silent in range(1, CONVOLUTIONS + 1):
        params = variables["params"] | {
            f"mask_fcn{silent}": jax.tree.map(jnp.zeros_like, variables["params"][f"mask_fcn{silent}"])
        }
        outputs = [head.apply({"params": params}, (features,), sources) for sources in (guidance, guidance[::-1])]
        reaches.append(bool(jnp.any(outputs[0] != outputs[1])))
    assert reaches == [convolution <= layer for convolution in range(1, CONVOLUTIONS + 1)]


def test_a_branch_gives_its_input_and_every_convolution_in_order():
    branch = ConvolutionBranch(HeadConfig(channels=4, fc_channels=8))
    features = jax.random.normal(jax.random.key(0), (2, 7, 7, 4))
    (_, layers), variables = branch.init_with_output(jax.random.key(1), (features,))
    np.testing.assert_array_equal(layers[0], features)
    assert len(layers) == CONVOLUTIONS + 1
    for count in range(CONVOLUTIONS + 1):
        found = branch.apply(variables, (features,), count, method="convolve")
        assert len(found) == count + 1
        np.testing.assert_allclose(found[-1], layers[count], atol=1e-6)
        if count:
            convolution = variables["params"]["convolutions"][f"conv{count}"]
            expected = jax.lax.conv_general_dilated(
                found[-2], convolution["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            np.testing.assert_allclose(found[-1], jnp.maximum(expected + convolution["bias"], 0), atol=1e-5)
