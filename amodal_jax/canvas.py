"""Canvases: the static frames in which images of any size travel to the device and enter the network.

Sizes are (height, width). How an image is resized is a matter of its own size alone, by the rule of short and long side
(`ops.resize`); a canvas only adds what is empty. Training and evaluation put all images on the configuration's
canvases and refuse those that do not fit them; prediction takes larger ones where it has to.
"""

import dataclasses
from collections.abc import Iterable

from amodal_jax.config import Config, InputConfig
from amodal_jax.errors import DataError, ImageError
from amodal_jax.ops.resize import host_resized_size

_SOURCE_STEP = 128  # canvases of images that do not fit the configuration's grow by this
_INPUT_STEP = 32  # the coarsest stride that the pyramid is added up at


def source_canvas(size: tuple[int, int], config: Config) -> tuple[int, int]:
    """The canvas on which an image of `size` travels to the device: the configuration's, or one of multiples of 128."""
    usual = (config.data.canvas_height, config.data.canvas_width)
    return usual if _fits(size, usual) else (_round_up(size[0], _SOURCE_STEP), _round_up(size[1], _SOURCE_STEP))


def input_canvas(size: tuple[int, int], model_input: InputConfig, *, shared: bool = True) -> tuple[int, int]:
    """The network's input canvas for an image of `size`.

    The configuration's wherever the resized image fits it, as in training and evaluation, even where a smaller one
    would do: group normalisation sees the empty part, too. Else, or always where none is `shared`, the resized size,
    rounded up to multiples of 32.

    Raises:
      ImageError: the image is so thin that nothing is left of it after resizing.
    """
    resized = host_resized_size(size, model_input.short_side, model_input.long_side)
    if min(resized) < 1:
        raise ImageError(
            f"an image of {size[1]} x {size[0]} pixels is too thin: its shorter side vanishes when the longer one is "
            f"resized to {model_input.long_side}; cut it into parts"
        )
    usual = (model_input.height, model_input.width)
    return usual if shared and _fits(resized, usual) else least_input_canvas(resized)


def least_input_canvas(size: tuple[int, int]) -> tuple[int, int]:
    """The least input canvas that holds a resized image of `size`: multiples of 32."""
    return _round_up(size[0], _INPUT_STEP), _round_up(size[1], _INPUT_STEP)


def at_short_side(model_input: InputConfig, short_side: int) -> InputConfig:
    """The network's input for another short side; images keep to `long_side` as they do in all published sources.

    The canvas is so large that every image fits it that fits the configuration's, and a multiple of 32: the
    configuration's in proportion, but no larger than the longest side, and no smaller along a side that `long_side`
    limits, as there an image can be as large with a smaller short side.

    Args:
      model_input: the configuration's.
      short_side: at most `long_side`.
    """
    usual, longest = model_input.short_side, model_input.long_side
    if short_side == usual:
        return model_input

    def bound(side: int) -> int:
        # A side is rounded down: of one that has `side` whole pixels, up to another one was cut off.
        in_proportion = (side + 1) * short_side // usual
        if short_side > usual:
            return min(in_proportion, longest)
        if side >= longest - 1:
            return side
        return max(in_proportion, min(short_side, side))

    height, width = least_input_canvas((bound(model_input.height), bound(model_input.width)))
    return dataclasses.replace(model_input, short_side=short_side, height=height, width=width)


def check_input_canvas(sizes: Iterable[tuple[int, tuple[int, int]]], model_input: InputConfig) -> None:
    """Refuses images that do not fit the configuration's input canvas once they are resized.

    Args:
      sizes: the id and the size of each image.
      model_input: the configuration's.

    Raises:
      DataError: names the first such image and what to set.
    """
    for image_id, size in sizes:
        try:
            needed = input_canvas(size, model_input)
        except ImageError as error:
            raise DataError(f"image {image_id}: {error}") from error
        if needed != (model_input.height, model_input.width):
            height, width = host_resized_size(size, model_input.short_side, model_input.long_side)
            raise DataError(
                f"image {image_id} of {size[1]} x {size[0]} pixels becomes {width} x {height} by "
                f"model.input.short_side and long_side, more than the input canvas of {model_input.width} x "
                f"{model_input.height} holds; raise model.input.height to {max(needed[0], model_input.height)} and "
                f"model.input.width to {max(needed[1], model_input.width)}"
            )


def _fits(size: tuple[int, int], canvas: tuple[int, int]) -> bool:
    return size[0] <= canvas[0] and size[1] <= canvas[1]


def _round_up(length: int, step: int) -> int:
    return -(-length // step) * step
