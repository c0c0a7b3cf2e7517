import jax
import numpy as np

from amodal_jax.ops.top_k import top_k


def test_the_greatest_with_their_places():
    values = np.random.default_rng(0).integers(0, 50, (3, 200)).astype(np.float32)  # many are equal
    found, places = jax.jit(lambda x: top_k(x, 30))(values)
    np.testing.assert_array_equal(found, -np.sort(-values, axis=1)[:, :30])
    np.testing.assert_array_equal(np.take_along_axis(values, np.asarray(places), axis=1), found)
    assert all(len(set(row)) == 30 for row in np.asarray(places).tolist())
