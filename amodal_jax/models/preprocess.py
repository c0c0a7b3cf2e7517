"""From images of any size to the network's input, on the device.

Shape shorthand in this module: B images, H x W canvas of native pixels, H2 x W2 the network's input, G ground-truth
slots.
"""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from amodal_jax.errors import require
from amodal_jax.ops.resize import resize_to_canvas, resized_size
from amodal_jax.structures import GroundTruth, NetworkInput


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """From an image to the network's input, on the device."""

    short_side: int = 800
    """Pixels of the resized image's shorter side."""
    long_side: int = 3000
    """The most pixels of the resized image's longer side."""
    height: int = 800
    """Height of the static canvas that resized images are padded to in training and evaluation."""
    width: int = 2656
    """Width of that canvas."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Mean of each channel, in [0, 1], in the order that `channel_order` names."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Standard deviation of each channel, in [0, 1], in the same order."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """The order of the channels that the first convolution sees."""

    expected_by_weights: ClassVar[tuple[str, ...]] = ("mean", "std", "channel_order")

    def __post_init__(self):
        require(self.short_side > 0, "model.input.short_side", "must be positive")
        require(self.long_side >= self.short_side, "model.input.long_side", "must not be under short_side")
        for name in ("height", "width"):
            value = getattr(self, name)
            require(value > 0 and value % 32 == 0, f"model.input.{name}", f"must be a multiple of 32, not {value}")
        for name in ("mean", "std"):
            require(len(getattr(self, name)) == 3, f"model.input.{name}", "must have three values")
        require(min(self.std) > 0, "model.input.std", "must be positive")


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resizes, normalises and puts on the input canvas; ground truth follows."""

    config: InputConfig

    def __call__(
        self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"], truth: GroundTruth | None = None
    ) -> NetworkInput:
        """uint8 RGB images of true (height, width) `sizes` to the input of the network.

        Images are resized by the rule of short and long side alone. What of them does not fit the input canvas would be
        cut off: `amodal_jax.canvas` sees to it that all of it does. Pixels outside the resized image are 0.

        Args:
          images: in the top left of their canvas.
          sizes: without the canvas.
          truth: with boxes in pixels of the canvas.
        """
        resized_sizes = self.resized_sizes(sizes)
        pixels = jax.vmap(self._prepare)(images, sizes, resized_sizes)
        if truth is not None:
            boxes = truth.boxes * (resized_sizes / sizes)[:, None, (1, 0, 1, 0)]
            truth = dataclasses.replace(truth, boxes=boxes)
        return NetworkInput(pixels=pixels, sizes=resized_sizes, source_sizes=sizes, truth=truth)

    def resized_sizes(self, sizes: Int[Array, "B 2"]) -> Int[Array, "B 2"]:
        """(height, width) that images are resized to."""

        def one(size):
            return jnp.stack(resized_size((size[0], size[1]), self.config.short_side, self.config.long_side))

        return jax.vmap(one)(sizes)

    def _prepare(
        self, image: UInt8[Array, "H W 3"], size: Int[Array, "2"], target: Int[Array, "2"]
    ) -> Float[Array, "H2 W2 3"]:
        config = self.config
        canvas = (config.height, config.width)
        resized = resize_to_canvas(image, (size[0], size[1]), (target[0], target[1]), canvas)
        channels = resized[..., ::-1] if config.channel_order == "bgr" else resized
        normalised = (channels / 255.0 - jnp.array(config.mean)) / jnp.array(config.std)
        rows = jnp.arange(canvas[0])[:, None, None] < target[0]
        columns = jnp.arange(canvas[1])[None, :, None] < target[1]
        return jnp.where(rows & columns, normalised, 0.0)


def to_source(boxes: Float[Array, "B D 4"], inputs: NetworkInput) -> Float[Array, "B D 4"]:
    """Boxes in pixels of the network's input to pixels of the images as they came."""
    return boxes * (inputs.source_sizes / inputs.sizes)[:, None, (1, 0, 1, 0)]
