"""What the golden files of whole detectors are made from: weights, images, instances, all drawn by seeds.

Both sides use it, torchvision's (tests/golden/regenerate/torchvision.py) and ours
(tests/weights/test_parity_torchvision.py), so that it needs NumPy alone. Shape shorthand: H x W image, n instances.
"""

import dataclasses
import zlib
from collections.abc import Mapping

import numpy as np

from tests.helpers.seeded_weights import seeded_weight

CLASSES = 8  # with the background
LONG_SIDE = 640

OUTPUTS = {
    "rpn.head.cls_logits": 2.0,
    "rpn.head.bbox_pred": 0.3,
    "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 1.0,
    "roi_heads.mask_predictor.mask_fcn_logits": 3.0,
}
"""The deviation that the outputs of these layers are scaled to, about a mean of 0. With random weights alone they would
be nearly the same everywhere, and a comparison of what is selected by them would say little."""


@dataclasses.dataclass(frozen=True)
class DrawnBatch:
    """Two drawn images and their instances, as a network sees them."""

    sizes: tuple[tuple[int, int], ...]
    """(height, width) of each image; they differ, so that one leaves some of the canvas empty."""
    short_side: int
    """To which they are resized."""
    canvas: tuple[int, int]
    """That holds them then. P6 is not half of P5."""
    proposals: int
    """Of an image."""
    regions: int
    """Sampled of an image, in training."""

    def image(self, index: int) -> np.ndarray:
        """A uint8 RGB image [H, W, 3] of rectangles and noise."""
        rng = np.random.default_rng(index)
        height, width = self.sizes[index]
        image = np.broadcast_to(np.linspace(60, 180, width)[:, None], (height, width, 3)).copy()
        for _ in range(40):
            y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
            image[y : y + rng.integers(8, 70), x : x + rng.integers(8, 90)] = rng.integers(0, 256, 3)
        return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)

    def truth(self, index: int, instances: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The instances of an image: boxes float32 [n, 4] xyxy, labels [n] from 0 on, crops bool [n, 112, 112].

        A crop has 28 x 28 equal blocks, so that no bin of the target of its own box is covered by just a half.
        """
        rng = np.random.default_rng(100 + index)
        size = np.array(self.sizes[index][::-1])
        sides = rng.uniform(0.15, 0.6, (instances, 2)) * size
        corner = rng.uniform(size=(instances, 2)) * (size - sides)
        y, x = np.mgrid[:28, :28] / 27 * 2 - 1
        angle, squash = rng.uniform(0, np.pi, (2, instances, 1, 1))
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        blocks = u**2 + (1 + squash) * v**2 < 0.9
        return (
            np.concatenate([corner, corner + sides], axis=1).astype(np.float32),
            rng.integers(0, CLASSES - 1, instances),
            blocks.repeat(4, axis=1).repeat(4, axis=2),
        )


STAGES = DrawnBatch(((150, 420), (160, 390)), short_side=192, canvas=(192, 544), proposals=300, regions=128)
TRAINING = DrawnBatch(((50, 72), (52, 64)), short_side=64, canvas=(64, 96), proposals=100, regions=64)
OPEN = 3.0
"""In training, values are shifted up by so many deviations before a ReLU. Where a value is so near 0 that rounding
decides its sign, one side has its gradient and the other has none: a share of 1e-7 of the values, which is what single
precision leaves undecided, makes a difference of its square root in the gradient, several times 1e-4."""


def seeded_state(
    shapes: Mapping[str, tuple[int, ...]],
    scales: Mapping[str, float],
    values: Mapping[str, np.ndarray],
    *,
    centred: bool = False,
) -> dict[str, np.ndarray]:
    """The state dict whose arrays are drawn by their names, in torch's layout.

    Args:
      shapes: of the arrays, by torch's names.
      scales: factors of some weights, by their names.
      values: what some arrays are instead, by their names; a scalar is all of their values.
      centred: whether the inputs' weights of each output are shifted to a mean of 0. Values whose mean is far from 0
        would otherwise hide what varies.
    """
    state = {}
    for name, shape in shapes.items():
        if name in values:
            state[name] = np.broadcast_to(np.float32(values[name]), shape).copy()
            continue
        array = seeded_weight(name, shape)
        if centred and array.ndim > 1:
            array = array - array.mean(axis=tuple(range(1, array.ndim)), keepdims=True)
        state[name] = array * np.float32(scales.get(name, 1.0))
    return state


def covered_bins(crop: np.ndarray, truth_box: np.ndarray, region: np.ndarray, size: int = 28) -> np.ndarray:
    """Which of the size x size bins of a region the mask covers by half or more: bool [size, size].

    Written as the area integral that it is. The mask is that of `amodal_jax.ops.masks`, cells over its truth box, and
    so is the slack of a half.
    """
    truth, region = np.asarray(truth_box, np.float64), np.asarray(region, np.float64)

    def shares(low: float, high: float, truth_low: float, truth_high: float) -> np.ndarray:
        bins = np.linspace(low, high, size + 1)
        cells = np.linspace(truth_low, truth_high, crop.shape[0] + 1)
        overlap = np.minimum(bins[1:, None], cells[1:]) - np.maximum(bins[:-1, None], cells[:-1])
        return np.maximum(overlap, 0) / np.diff(bins)[:, None]

    rows = shares(region[1], region[3], truth[1], truth[3])
    columns = shares(region[0], region[2], truth[0], truth[2])
    return rows @ crop @ columns.T >= 0.5 - 1e-3


def some_of(array: np.ndarray, count: int, name: str) -> np.ndarray:
    """`count` values (all, if there are fewer) of an array at places drawn by a name."""
    flat = np.asarray(array).reshape(-1)
    return flat if flat.size <= count else flat[_generator(name).choice(flat.size, count, replace=False)]


def directions(name: str, shape: tuple[int, ...], count: int = 4) -> np.ndarray:
    """Random directions in the space of a parameter, float32 [count, *shape].

    The products of a difference with them have the difference's norm as their deviation.
    """
    return _generator(name).standard_normal((count, *shape), dtype=np.float32)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"places of {name}".encode()))
