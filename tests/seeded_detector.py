"""What the golden files of whole detectors are made from: weights, images, instances, all drawn by seeds.

Both sides use it, torchvision's (scripts/regenerate_golden_detectors.py) and ours (tests/test_parity.py), so that it
needs NumPy alone. Shape shorthand: H x W image, n instances, N regions.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from tests.models.seeded_weights import seeded_weight

CLASSES = 8  # with the background
SIZES = ((150, 420), (160, 390))  # (height, width) of the images of a batch
SHORT_SIDE, LONG_SIDE = 192, 640
CANVAS = (192, 544)  # of the batch: the second image leaves some of it empty, and P6 is not half of P5
INSTANCES = 6  # of an image
PROPOSALS = 300  # of an image, in inference
REGIONS = 128  # sampled of an image, in training

OUTPUTS = {
    "rpn.head.cls_logits": 2.0,
    "rpn.head.bbox_pred": 0.3,
    "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 1.0,
    "roi_heads.mask_predictor.mask_fcn_logits": 3.0,
}
"""The deviation that the outputs of these layers are scaled to, about a mean of 0. With random weights alone they would
be nearly the same everywhere, and a comparison of what is selected by them would say little."""


def seeded_state(
    shapes: Mapping[str, tuple[int, ...]], scales: Mapping[str, float], biases: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The state dict whose arrays are drawn by their names, in torch's layout.

    Args:
      shapes: of the arrays, by torch's names.
      scales: factors of the weights of some layers, by the layers' names.
      biases: the biases of some layers.
    """
    state = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if kind == "bias" and layer in biases:
            state[name] = biases[layer]
        else:
            factor = scales.get(layer, 1.0) if kind == "weight" else 1.0
            state[name] = seeded_weight(name, shape) * np.float32(factor)
    return state


def drawn_image(index: int) -> np.ndarray:
    """A uint8 RGB image [H, W, 3] of rectangles and noise."""
    rng = np.random.default_rng(index)
    height, width = SIZES[index]
    image = np.broadcast_to(np.linspace(60, 180, width)[:, None], (height, width, 3)).copy()
    for _ in range(40):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        image[y : y + rng.integers(8, 70), x : x + rng.integers(8, 90)] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def drawn_truth(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The instances of an image: boxes float32 [n, 4] xyxy, labels [n] from 0 on, crops bool [n, 112, 112].

    A crop has 28 x 28 equal blocks, so that no bin of the target of its own box is covered by just a half.
    """
    rng = np.random.default_rng(100 + index)
    height, width = SIZES[index]
    sides = rng.uniform((20, 20), (110, 90), (INSTANCES, 2))
    corner = rng.uniform(size=(INSTANCES, 2)) * (np.array([width, height]) - sides)
    y, x = np.mgrid[:28, :28] / 27 * 2 - 1
    angle, squash = rng.uniform(0, np.pi, (2, INSTANCES, 1, 1))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    blocks = u**2 + (1 + squash) * v**2 < 0.9
    return (
        np.concatenate([corner, corner + sides], axis=1).astype(np.float32),
        rng.integers(0, CLASSES - 1, INSTANCES),
        blocks.repeat(4, axis=1).repeat(4, axis=2),
    )


def covered_bins(crop: np.ndarray, truth_box: np.ndarray, region: np.ndarray, size: int = 28) -> np.ndarray:
    """Which of the size x size bins of a region the mask covers by half or more: bool [size, size].

    Written as the area integral that it is. The mask is that of `amodal_jax.ops.masks`, cells over its truth box.
    """
    truth, region = np.asarray(truth_box, np.float64), np.asarray(region, np.float64)

    def shares(low: float, high: float, truth_low: float, truth_high: float) -> np.ndarray:
        bins = np.linspace(low, high, size + 1)
        cells = np.linspace(truth_low, truth_high, crop.shape[0] + 1)
        overlap = np.minimum(bins[1:, None], cells[1:]) - np.maximum(bins[:-1, None], cells[:-1])
        return np.maximum(overlap, 0) / np.diff(bins)[:, None]

    rows = shares(region[1], region[3], truth[1], truth[3])
    columns = shares(region[0], region[2], truth[0], truth[2])
    return rows @ crop @ columns.T >= 0.5


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
