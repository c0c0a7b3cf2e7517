"""What tests ask of the weights that a network starts with: where each layer comes from, and that nothing is missed."""

import functools

import jax
import numpy as np

from amodal_jax.network import build_network, initialise


@functools.cache
def shapes_of(config):
    """Of a network's variables."""
    detector = build_network(config)
    return jax.eval_shape(lambda key: initialise(detector, config, key), jax.random.key(0))


def random_variables(config, seed):
    """Of the configuration's network, with values that depend on the seed and on nothing else."""
    shapes = shapes_of(config)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), shapes)


def arrays(variables, layer):
    """The arrays of a layer."""
    found = {}
    for collection, branch in variables.items():
        for module in layer.split("/"):
            branch = branch.get(module, {})
        found |= {f"{collection}/{name}": array for name, array in branch.items()}
    assert found, layer
    return found


def assert_equal(variables, layer, others, other):
    """A layer of a network and one of another."""
    left, right = arrays(variables, layer), arrays(others, other)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=f"{layer} {name}")


def assert_report_is_what_happened(weights, variables, result, report):
    """Every layer is in one list, and has the values that the list says."""
    layers = {"/".join(key.key for key in path[1:-1]) for path, _ in jax.tree_util.tree_leaves_with_path(variables)}
    lists = [report.taken, report.by_class, report.new]
    assert sum(map(len, lists)) == len(layers)
    assert set().union(*lists) == layers
    for layer, old in report.taken.items():
        assert_equal(result, layer, weights, old)
    for layer in report.new:
        assert_equal(result, layer, variables, layer)
