import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.models.backbones.resnet import BackboneConfig, ResNet
from amodal_jax.models.necks.fpn import FPN, upsample_nearest
from tests.helpers.backbone_golden import load_golden, seeded_variables


def stages(sizes, channels, key=0):
    keys = jax.random.split(jax.random.key(key), len(sizes))
    return tuple(jax.random.normal(k, (1, *size, c)) for k, size, c in zip(keys, sizes, channels, strict=True))


def test_parameter_count_is_torchvisions():
    inputs = stages([(8, 16), (4, 8), (2, 4), (1, 2)], (256, 512, 1024, 2048))
    variables = jax.eval_shape(FPN().init, jax.random.key(0), inputs)
    assert set(variables["params"]) == {f"{part}{level}" for part in ("inner", "layer") for level in (1, 2, 3, 4)}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 3_344_384


def test_output_shapes():
    inputs = stages([(17, 25), (9, 13), (5, 7), (3, 4)], (4, 8, 16, 32))
    outputs, _ = jax.eval_shape(FPN(channels=12, norm="group_norm").init_with_output, jax.random.key(0), inputs)
    assert [x.shape for x in outputs] == [(1, *size, 12) for size in [(17, 25), (9, 13), (5, 7), (3, 4), (2, 2)]]


def test_levels_are_torchvisions():
    golden = load_golden()
    image = jnp.asarray(golden["image"])
    backbone, pyramid = ResNet(BackboneConfig(depth=50)), FPN()
    outputs = jax.jit(backbone.apply)(seeded_variables(backbone, image), image)
    levels = jax.jit(pyramid.apply)(seeded_variables(pyramid, outputs), outputs)
    for level, output in enumerate(levels, start=2):
        expected = golden[f"fpn_p{level}"]
        np.testing.assert_allclose(output[..., ::8], expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)


@pytest.mark.parametrize("size", [(6, 8), (5, 8), (6, 7), (5, 7), (1, 2)])
def test_upsample_nearest_is_the_floor_rule(size):
    coarse = jax.random.normal(jax.random.key(0), (2, (size[0] + 1) // 2, (size[1] + 1) // 2, 3))
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, coarse.shape[1:3], strict=True))
    np.testing.assert_array_equal(upsample_nearest(coarse, size), coarse[:, rows][:, :, columns])
