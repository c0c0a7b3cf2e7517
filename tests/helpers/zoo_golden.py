"""Our modules against those of tests/golden/regenerate/zoo.py: weights from torch's names, values and gradients."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers.seeded_weights import seeded_weight

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "models"
LEAVES = {"kernel": "weight", "scale": "weight", "values": "weight", "bias": "bias"}
# Of no effect. The softmax does not see what all scores have in common; and where the first queries are all zeros, so
# are the values of their attention, but for their bias.
SILENT = (
    "['key']['bias']",
    *(
        f"['decoder']['self_attention']{leaf}"
        for leaf in ("['query']['kernel']", "['query']['bias']", "['key']['kernel']", "['value']['kernel']")
    ),
)
PACKED = ("query", "key", "value")  # what torch's attention keeps in one array


class Golden:
    """What a file of tests/golden/models holds of one module."""

    def __init__(self, file: str, module: str):
        self._arrays = np.load(FOLDER / f"{file}.npz")
        self._module = module

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[f"{self._module} {name}"]

    def all(self, kind: str) -> list[jax.Array]:
        """The arrays of a kind in their order, channels last."""
        names = [name for name in self._arrays if re.fullmatch(rf"{self._module} {kind} \d+", name)]
        arrays = [self[f"{kind} {index}"] for index in range(len(names))]
        return [jnp.asarray(np.moveaxis(one, 1, -1) if one.ndim == 4 else one) for one in arrays]

    def check(
        self,
        init: Callable[[jax.Array, list[jax.Array]], Mapping],
        apply: Callable[[Mapping, list[jax.Array]], list[jax.Array]],
        *,
        channels: Mapping[str, int] | None = None,
    ) -> None:
        """Holds a module's outputs, and its gradients by inputs and weights, to the golden ones.

        Args:
          init: gives its variables for a key and the inputs.
          apply: gives its outputs, in the golden ones' order, for variables and inputs.
          channels: of the maps that dense layers see flattened, by the layers' names.
        """
        inputs, weighting = self.all("input"), self.all("weighting")
        layout = _Layout(channels or {})
        params = jax.tree_util.tree_map_with_path(layout.seeded, jax.eval_shape(init, jax.random.key(0), inputs))

        def total(params, inputs):
            outputs = apply(params, inputs)
            return sum(jnp.sum(one * weight) for one, weight in zip(outputs, weighting, strict=True)), outputs

        run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
        (_, outputs), (of_params, of_inputs) = run(params, inputs)
        for index, (found, expected) in enumerate(zip(outputs, self.all("output"), strict=True)):
            close(found, expected, f"output {index}")
        for index, (found, expected) in enumerate(zip(of_inputs, self.all("input gradient"), strict=True)):
            close(found, expected, f"gradient of input {index}")
        compared = set()
        largest = max(np.abs(one).max() for name, one in self._arrays.items() if "gradient of" in name)
        for path, found in jax.tree_util.tree_leaves_with_path(of_params):
            name, convert = layout.of(path)
            compared.add(name)
            close(found, convert(self[f"gradient of {name}"]), jax.tree_util.keystr(path), largest)
        prefix = f"{self._module} gradient of "
        assert compared == {name.removeprefix(prefix) for name in self._arrays if name.startswith(prefix)}


def close(found: jax.Array, expected: np.ndarray, name: str, largest: float = 0.0) -> None:
    """Equal but for float32's rounding, as a share of the largest value.

    Where all are next to nothing, as a share of `largest`, the largest one among other arrays.
    """
    silent = np.abs(expected).max() < 1e-9
    assert silent == name.endswith(SILENT), name
    scale = largest if silent else np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=2e-5 * scale, rtol=1e-4, err_msg=name)


class _Layout:
    """Where torch has each of our parameters, and how."""

    def __init__(self, channels: Mapping[str, int]):
        self._channels = channels

    def of(self, path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """Torch's name of a parameter, and from torch's array to ours."""
        *modules, leaf = [key.key for key in path[1:]]
        if len(modules) > 1 and modules[-2].endswith("attention"):
            if modules[-1] == "output":
                return ".".join([*modules[:-1], "out_proj", LEAVES[leaf]]), np.transpose
            place = PACKED.index(modules[-1])
            return ".".join([*modules[:-1], f"in_proj_{LEAVES[leaf]}"]), lambda x: np.split(x, 3)[place].T
        name = ".".join([*modules, LEAVES[leaf]])
        if leaf != "kernel":
            return name, lambda x: x
        transposed = modules[-1] in ("deconv", "conv5_mask")
        return name, lambda x: self._kernel(x, transposed, self._channels.get(".".join(modules)))

    @staticmethod
    def _kernel(weight: np.ndarray, transposed: bool, channels: int | None) -> np.ndarray:
        if weight.ndim == 4:
            return weight.transpose(2, 3, 0, 1) if transposed else weight.transpose(2, 3, 1, 0)
        if channels is not None:
            side = round((weight.shape[1] / channels) ** 0.5)
            maps = weight.reshape(-1, channels, side, side)
            return maps.transpose(2, 3, 1, 0).reshape(-1, len(weight))
        return weight.T

    def seeded(self, path, leaf) -> jax.Array:
        """The value that a parameter's torch name gives."""
        name, convert = self.of(path)
        modules = [key.key for key in path[1:-1]]
        if "in_proj" in name:
            shape = (3 * leaf.shape[-1], *leaf.shape[:-1])
        elif leaf.ndim == 4:
            height, width, inputs, outputs = leaf.shape
            pair = (inputs, outputs) if modules[-1] in ("deconv", "conv5_mask") else (outputs, inputs)
            shape = (*pair, height, width)
        else:
            shape = leaf.shape[::-1] if name.endswith("weight") and path[-1].key == "kernel" else leaf.shape
        value = convert(seeded_weight(name, shape))
        assert value.shape == leaf.shape, (name, value.shape, leaf.shape)
        return jnp.asarray(value)
