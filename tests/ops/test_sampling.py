import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.ops import sampling

COUNT = 40


@given(
    st.lists(st.sampled_from("pn-"), min_size=COUNT, max_size=COUNT),
    st.integers(0, 2**31 - 1),
    st.sampled_from([(8, 0.25), (8, 0.5), (30, 0.1), (64, 0.25), (40, 1.0), (5, 0.0)]),
)
def test_counts_of_torchvision(kinds, seed, shape):
    size, fraction = shape
    positive, negative = np.array(kinds) == "p", np.array(kinds) == "n"
    samples = sampling.sample_balanced(
        jax.random.key(seed), jnp.asarray(positive), jnp.asarray(negative), size=size, positive_fraction=fraction
    )
    indices, is_positive, valid = (np.asarray(each) for each in (samples.indices, samples.positive, samples.valid))
    positives = min(positive.sum(), int(size * fraction))
    negatives = min(negative.sum(), size - positives)
    assert indices.shape == (size,)
    assert is_positive.sum() == positives
    assert is_positive[:positives].all()
    assert valid.sum() == positives + negatives
    assert valid[: positives + negatives].all()
    assert positive[indices[is_positive]].all()
    assert negative[indices[valid & ~is_positive]].all()
    assert len(set(indices[valid])) == valid.sum(), "drawn twice"


def test_uniform():
    """Of 10 positives and 30 negatives, 2 and 6 are drawn: everyone with probability one fifth."""
    positive = jnp.arange(COUNT) < 10
    keys = jax.random.split(jax.random.key(0), 4000)
    samples = jax.vmap(lambda key: sampling.sample_balanced(key, positive, ~positive, size=8, positive_fraction=0.25))(
        keys
    )
    share = np.bincount(np.asarray(samples.indices).ravel(), minlength=COUNT) / len(keys)
    # Five standard deviations of a binomial share.
    np.testing.assert_allclose(share, 0.2, atol=5 * np.sqrt(0.2 * 0.8 / len(keys)))


def test_same_key_same_draw():
    positive = jnp.arange(COUNT) % 3 == 0

    def draw(seed):
        key = jax.random.key(seed)
        return sampling.sample_balanced(key, positive, ~positive, size=16, positive_fraction=0.5).indices

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_no_candidates():
    none = jnp.zeros(0, bool)
    samples = sampling.sample_balanced(jax.random.key(0), none, none, size=4, positive_fraction=0.5)
    assert samples.indices.shape == (4,)
    assert not samples.valid.any()


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=COUNT), st.sampled_from([1, 5, COUNT])
)
def test_the_hardest_are_those_of_a_sort(candidates, size):
    losses, valid = np.array([loss for loss, _ in candidates]), np.array([valid for _, valid in candidates])
    kept = sampling.sample_hardest(jnp.asarray(losses, jnp.float32), jnp.asarray(valid), size=size)
    hardest = [place for place in np.argsort(-losses, kind="stable") if valid[place]][:size]
    np.testing.assert_array_equal(np.flatnonzero(kept), sorted(hardest))


@given(st.lists(st.sampled_from("pnf-"), min_size=COUNT, max_size=COUNT), st.integers(0, 2**31 - 1))
def test_counts_of_grades(kinds, seed):
    """Those of MNC's code, whose rounding is NumPy's; one grade does not fill the room of the other."""
    size = 20
    groups = [np.array(kinds) == kind for kind in "pnf"]
    samples = sampling.sample_graded(
        jax.random.key(seed), *map(jnp.asarray, groups), size=size, positive_fraction=0.3, near_fraction=0.85
    )
    positives = min(groups[0].sum(), 6)
    near_room = int(np.round((size - positives) * 0.85))
    counts = [positives, min(groups[1].sum(), near_room), min(groups[2].sum(), size - positives - near_room)]
    indices, valid = np.asarray(samples.indices), np.asarray(samples.valid)
    np.testing.assert_array_equal(valid, np.arange(size) < sum(counts))
    np.testing.assert_array_equal(samples.positive, np.arange(size) < positives)
    drawn = np.split(indices[valid], np.cumsum(counts)[:2])
    for group, of_group in zip(groups, drawn, strict=True):
        assert group[of_group].all()
    assert len(set(indices[valid])) == valid.sum(), "drawn twice"
