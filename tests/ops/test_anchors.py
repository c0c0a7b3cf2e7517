import numpy as np
import pytest

from amodal_jax.ops import anchors


def test_torchvision(golden):
    sizes = [(int(height), int(width)) for height, width in golden["feature_sizes"]]
    height, width = (int(side) for side in golden["image_size"])
    levels = anchors.pyramid_anchors(
        sizes, [(height // h, width // w) for h, w in sizes], [[32], [64], [128], [256], [512]], [0.5, 1.0, 2.0]
    )
    assert [len(level) for level in levels] == [h * w * 3 for h, w in sizes]
    np.testing.assert_array_equal(np.concatenate(levels), golden["anchors"])


def test_one_stride_for_both_directions():
    (one,), (two,) = (anchors.pyramid_anchors([(2, 3)], [stride], [[8]], [1.0]) for stride in (4, (4, 4)))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[[0, 1, 3]], [[-4, -4, 4, 4], [0, -4, 8, 4], [-4, 0, 4, 8]])


def test_levels_must_agree():
    with pytest.raises(ValueError, match="zip"):
        anchors.pyramid_anchors([(2, 3)], [4, 8], [[8]], [1.0])


def test_several_sizes_at_one_level():
    """Each cell has the anchors that levels of one size each would have there, size by size."""
    (both,) = anchors.pyramid_anchors([(2, 3)], [16], [[64, 32]], [0.5, 1.0, 2.0])
    apart = anchors.pyramid_anchors([(2, 3)] * 2, [16] * 2, [[64], [32]], [0.5, 1.0, 2.0])
    expected = np.concatenate([level.reshape(6, 3, 4) for level in apart], axis=1)
    np.testing.assert_array_equal(both, expected.reshape(-1, 4))
