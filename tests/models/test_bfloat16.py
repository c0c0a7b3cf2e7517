import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax import losses
from amodal_jax.network import build_network, initialise
from tests.helpers.every_network import DETECTORS, NETWORKS, every_config
from tests.helpers.micro import image_keys, loud, micro_batch, micro_config
from tests.helpers.transfers import random_variables


def test_losses_of_the_whole_network_are_near_those_of_float32():
    """On the same anchors and regions, as the proposals of the two would choose others.

    bfloat16 rounds by up to one part in 512; some forty layers one after the other, each with errors of its own, make
    about 1 % of an output of size one, and less of a loss, which is a mean over many. A network that lost its way, or
    that summed its losses in bfloat16, would be off by more than 3 %.
    """
    config, rounded_config = micro_config(), micro_config(compute_dtype="bfloat16")
    variables = loud(initialise(build_network(config), config, jax.random.key(0)))
    batch, keys = micro_batch(2), image_keys(2)

    def forward(self, samples):
        inputs = self.preprocess(batch.images, batch.sizes, batch.truth)
        levels, scores = self.features(inputs)
        samples = samples or (
            self.rpn.sample(scores, inputs.truth, batch.valid, keys),
            self.boxes.sample(
                self.rpn.propose(scores, inputs.sizes, train=True), inputs.truth, batch.valid, image_keys(2, seed=1)
            ),
        )
        terms = self.loss_terms(levels, scores, *samples, inputs.truth, keys)
        return samples, levels, (scores.logits, scores.deltas), terms

    found = {}
    samples = None
    for name, one in (("float32", config), ("bfloat16", rounded_config)):
        detector = build_network(one)
        run = jax.jit(lambda v, s, detector=detector: detector.apply(v, s, method=forward))
        samples, levels, outputs, terms = run(variables, samples)
        found[name] = {term: float(losses.mean(value)) for term, value in terms.items()}
        assert {level.dtype.name for level in levels} == {name}
        assert {leaf.dtype.name for leaf in jax.tree.leaves((outputs, terms))} == {"float32"}
    for term, value in found["float32"].items():
        np.testing.assert_allclose(found["bfloat16"][term], value, rtol=0.03, err_msg=term)
    # Outputs are not rounded to the 8 bits of bfloat16: hardly any two anchors are equally good.
    logits = jnp.concatenate([level.reshape(-1) for level in outputs[0]])
    assert jnp.unique(logits).size > 0.99 * logits.size


@pytest.mark.parametrize("name", NETWORKS)
def test_no_long_sum_is_in_bfloat16(name):
    """A bias added in bfloat16 would have its gradient, a sum over all pixels of all images, summed so.

    Nor would a softmax's denominator be exact. The gradient of an upsampled level sums four values, which may be, and
    so does that of what all levels have in common in PANet's pooling.
    """
    config = every_config(name, compute_dtype="bfloat16")
    detector = build_network(config)
    variables = random_variables(config, 0)

    def loss(params):
        terms = detector.apply({**variables, "params": params}, micro_batch(2), image_keys(2), method="losses")
        return sum(map(losses.mean, terms.values()))

    def sums(jaxpr):
        """(type, number of summands) of every sum."""
        for equation in jaxpr.eqns:
            if equation.primitive.name == "reduce_sum":
                summed, total = equation.invars[0].aval, equation.outvars[0].aval
                yield total.dtype.name, summed.size // total.size
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from sums(inner)

    found = set(sums(jax.make_jaxpr(jax.grad(loss))(variables["params"]).jaxpr))
    assert max(summands for dtype, summands in found if dtype == "float32") > 1000
    # Networks of one level upsample nothing.
    few = {summands for dtype, summands in found if dtype == "bfloat16" and summands > 1}
    assert few == ({4} if name in DETECTORS else set())
