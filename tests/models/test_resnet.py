import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.models.backbones.resnet import BackboneConfig, BasicBlock, Bottleneck, ResNet
from tests.helpers.backbone_golden import load_golden, seeded_variables


def resnet(depth, *, dtype=jnp.float32, **settings):
    return ResNet(BackboneConfig(**({"depth": depth, "frozen_stages": 0} | settings)), dtype=dtype)


def shapes_of(module, *arguments):
    return jax.eval_shape(module.init_with_output, jax.random.key(0), *arguments)


@pytest.mark.parametrize(("depth", "count"), [(18, 11_176_512), (50, 23_508_032), (101, 42_500_160)])
def test_parameter_count_is_torchvisions(depth, count):
    """Without the classifier; the affine values of the normalisations included, their statistics not."""
    _, frozen = shapes_of(resnet(depth), jnp.zeros((1, 64, 64, 3)))
    affine = [leaf for path, leaf in jax.tree.leaves_with_path(frozen["frozen"]) if path[-1].key in ("scale", "bias")]
    assert sum(leaf.size for leaf in jax.tree.leaves(frozen["params"]) + affine) == count
    _, group = shapes_of(resnet(depth, norm="group_norm"), jnp.zeros((1, 64, 64, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(group)) == count


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (50, 4)])
@pytest.mark.parametrize("width", [64, 16])
def test_output_shapes(depth, expansion, width):
    outputs, _ = shapes_of(resnet(depth, width=width), jnp.zeros((2, 65, 97, 3)))
    sizes = [(17, 25), (9, 13), (5, 7), (3, 4)]
    assert [x.shape for x in outputs] == [(2, *size, expansion * width * 2**i) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(("depth", "norm"), [(18, "group_norm"), (50, "frozen_batch_norm")])
def test_outputs_are_torchvisions(depth, norm):
    golden = load_golden()
    image = jnp.asarray(golden["image"])
    network = resnet(depth, norm=norm)
    outputs = jax.jit(network.apply)(seeded_variables(network, image), image)
    for level, output in enumerate(outputs, start=2):
        expected = golden[f"resnet{depth}_c{level}"]
        np.testing.assert_allclose(output[..., ::8], expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)


def test_stride_in_1x1_moves_the_stride():
    image = jnp.zeros((1, 64, 64, 3))
    networks = [resnet(50, width=8, stride_in_1x1=value) for value in (False, True)]
    plain, msra = (shapes_of(network, image) for network in networks)
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(jnp.shape, msra)
    flops = [jax.jit(network.apply).lower(plain[1], image).cost_analysis()["flops"] for network in networks]
    assert flops[1] < flops[0]


@pytest.mark.parametrize("frozen_stages", [2, 5])
def test_frozen_stages_get_no_gradient(frozen_stages):
    network = resnet(18, norm="group_norm", width=8, frozen_stages=frozen_stages)
    image = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    variables = jax.jit(network.init)(jax.random.key(0), image)
    gradients = jax.jit(jax.grad(lambda v: sum(jnp.square(x).sum() for x in network.apply(v, image))))(variables)
    trained = {name for name, tree in gradients["params"].items() if any(map(jnp.any, jax.tree.leaves(tree)))}
    frozen = {"conv1", "bn1"} if frozen_stages else set()
    frozen |= {f"layer{stage}_{block}" for stage in range(1, frozen_stages) for block in (0, 1)}
    assert trained == set(gradients["params"]) - frozen


def test_compute_type():
    outputs, variables = shapes_of(resnet(18, width=8, dtype=jnp.bfloat16), jnp.zeros((1, 64, 64, 3)))
    assert {x.dtype for x in outputs} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("depth", [18, 50])
def test_at_stride_16_the_last_stage_is_as_large_as_the_one_before(depth):
    """With the same parameters, so that ImageNet's weights serve."""
    image = jnp.zeros((1, 64, 96, 3))
    plain, dilated = (ResNet(BackboneConfig(depth=depth, width=8), output_stride=stride) for stride in (32, 16))
    (outputs, variables), (dilated_outputs, dilated_variables) = (shapes_of(net, image) for net in (plain, dilated))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, dilated_variables)
    assert [level.shape for level in dilated_outputs[:3]] == [level.shape for level in outputs[:3]]
    assert dilated_outputs[3].shape == (1, 4, 6, outputs[3].shape[-1])


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_dilated_block_sees_every_second_cell(block):
    """At every second cell it gives what it would on a map of these cells alone."""
    settings = {"width": 4, "stride": 1, "norm": "none"}
    x = jax.random.normal(jax.random.key(0), (1, 8, 10, 3))
    variables = jax.jit(block(**settings).init)(jax.random.key(1), x)
    dilated = jax.jit(block(dilation=2, **settings).apply)(variables, x)
    for row in (0, 1):
        for column in (0, 1):
            alone = jax.jit(block(**settings).apply)(variables, x[:, row::2, column::2])
            np.testing.assert_allclose(dilated[:, row::2, column::2], alone, atol=1e-5)
