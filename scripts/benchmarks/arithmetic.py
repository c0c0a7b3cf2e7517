"""The arithmetic that a network needs, counted from the shapes of its products: what no program for it can do without.

A product of matrices counts a multiplication for each element of its result and each term of its sum; a convolution one
for each tap of each output, padding included, and none for the zeros that a gradient spreads its input with. Everything
else, pooling and samples and losses, counts nothing. The gradients are those of what is trained: of frozen layers there
are none, and of layers behind them those of the parameters alone.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.interpreters import partial_eval

from amodal_jax import losses
from amodal_jax.models.blocks import BLOCK
from amodal_jax.network import Network, Variables
from amodal_jax.structures import Batch


def of_training(network: Network, variables: Variables, batch: Batch) -> int:
    """Multiplications of the losses of a batch and of the gradients of the trained parameters.

    Args:
      network: any.
      variables: its own, or their shapes.
      batch: of so many images as are to be counted, or its shapes.
    """
    count = batch.images.shape[0]
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))

    def gradients(params: Any, others: Variables, batch: Batch, keys: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            terms: Any = network.apply({"params": params} | others, batch, keys, method="losses")
            return sum(losses.mean(term) for term in terms.values())

        return jax.grad(loss)(params)

    others = {name: values for name, values in variables.items() if name != "params"}
    return count_multiplications(gradients, variables["params"], others, batch, keys)


def of_inference(network: Network, variables: Variables, images: Any, sizes: Any, detections: int) -> int:
    """Multiplications of `detect` where each image has so many detections."""
    needed = _needed(
        lambda variables, images, sizes: network.apply(variables, images, sizes, method="detect"),
        *(variables, images, sizes),
    )
    # The loop over blocks of detections counts as if its last block were no larger than need be.
    outside, with_one_block = (_of_jaxpr(needed, runs) for runs in (0, 1))
    return outside + (with_one_block - outside) * detections // BLOCK


def count_multiplications(function: Any, *arguments: Any, loop_runs: int = 1) -> int:
    """Of a function of arrays, or of their shapes, without what its result does not hang on.

    Args:
      function: what is traced, not run.
      arguments: its arguments.
      loop_runs: how often the body of a loop of unknown length runs.
    """
    return _of_jaxpr(_needed(function, *arguments), loop_runs)


def _needed(function: Any, *arguments: Any) -> Any:
    """The function's jaxpr, without what its result does not hang on."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]


def _of_jaxpr(jaxpr: Any, loop_runs: int) -> int:
    total = 0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case "dot_general":
                total += _of_product(equation)
            case "conv_general_dilated":
                total += _of_convolution(equation)
            case "cond":
                # The last of those that platforms choose from is the one of all but CPUs.
                total += _of_jaxpr(equation.params["branches"][-1].jaxpr, loop_runs)
            case "scan":
                total += equation.params["length"] * _of_jaxpr(equation.params["jaxpr"].jaxpr, loop_runs)
            case "while":
                total += loop_runs * _of_jaxpr(equation.params["body_jaxpr"].jaxpr, loop_runs)
            case _:
                total += sum(_of_jaxpr(inner, loop_runs) for inner in _inner(equation.params))
    return total


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    """The functions that an equation calls."""
    for value in parameters.values():
        jaxpr = getattr(value, "jaxpr", value)
        if hasattr(jaxpr, "eqns"):
            yield jaxpr


def _of_product(equation: Any) -> int:
    left, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    return math.prod(result) * math.prod(left[axis] for axis in contracted)


def _of_convolution(equation: Any) -> int:
    kernel, result = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    outputs = equation.params["dimension_numbers"].rhs_spec[0]
    spread = math.prod(equation.params["lhs_dilation"])
    return math.prod(result) * math.prod(kernel) // kernel[outputs] // spread
