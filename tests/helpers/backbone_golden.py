"""Our variables from the names that torchvision gives to the same values, for the golden tests of backbones."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers.seeded_weights import seeded_weight

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def load_golden():
    """The arrays written by tests/golden/regenerate/models.py."""
    return np.load(Path(__file__).resolve().parents[1] / "golden" / "models" / "backbone.npz")


def seeded_variables(module, *arguments):
    """The module's variables with the values that their torch names give."""

    def value(path, leaf):
        *modules, name = [key.key for key in path[1:]]
        torch_name = ".".join([*modules, LEAVES[name]])
        torch_name = re.sub(r"^(layer\d)_(\d+)", r"\1.\2", torch_name)
        torch_name = torch_name.replace("downsample_conv", "downsample.0").replace("downsample_norm", "downsample.1")
        torch_name = re.sub(
            r"^(inner|layer)(\d)\.(?=weight|bias)", lambda m: f"{m[1]}_blocks.{int(m[2]) - 1}.0.", torch_name
        )
        if name == "kernel":
            height, width, inputs, outputs = leaf.shape
            return seeded_weight(torch_name, (outputs, inputs, height, width)).transpose(2, 3, 1, 0)
        return seeded_weight(torch_name, leaf.shape)

    shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments)
    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(value, shapes))
