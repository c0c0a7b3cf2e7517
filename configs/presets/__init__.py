"""What training on another dataset than KINS changes in a configuration of any network: a module each with a `PRESET`.

The sizes of images and canvases, the classes, and the schedule that was published for the dataset, in epochs of it.
"""

import dataclasses
import importlib
import pkgutil

from amodal_jax.config import Config
from amodal_jax.errors import ConfigError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Preset:
    """A dataset's sizes and schedule."""

    canvas: tuple[int, int]
    """(height, width) in pixels that hold every image at its own resolution."""
    short_side: int
    """Pixels of the resized image's shorter side."""
    long_side: int
    """The most pixels of the resized image's longer side."""
    input_canvas: tuple[int, int]
    """(height, width) that hold every resized image, multiples of 32."""
    epochs: int
    """How many times training sees each image."""
    learning_rate: float
    """The learning rate after the warm-up, for batches of `BATCH_SIZE`."""
    decays: tuple[float, ...]
    """Shares of the training after which the learning rate falls by ten."""
    class_names: tuple[str, ...] = ()
    """The classes that the dataset has to have; empty: those that it has."""

    def apply(self, config: Config, images: int) -> Config:
        """`config` for this dataset: its network stays, its sizes, classes and schedule are the dataset's.

        Goes before what weights expect of a network (`--init`) and before single options. These three say different
        things (what the images are, how pixels and boxes are coded, what the user knows better), so that the first two
        have no field in common; and an option that is written out is obeyed whatever else there is.

        Args:
          config: of any network.
          images: those of the training split, of which the epochs are.
        """
        model_input = dataclasses.replace(
            config.model.input,
            short_side=self.short_side,
            long_side=self.long_side,
            height=self.input_canvas[0],
            width=self.input_canvas[1],
        )
        steps = max(self.epochs * images // BATCH_SIZE, 1)
        return dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, class_names=self.class_names, input=model_input),
            data=dataclasses.replace(
                config.data, canvas_height=self.canvas[0], canvas_width=self.canvas[1], max_instances=SLOTS, flip=True
            ),
            train=dataclasses.replace(
                config.train,
                steps=steps,
                batch_size=BATCH_SIZE,
                optimizer="sgd",
                learning_rate=self.learning_rate,
                scale_learning_rate=False,
                schedule="step",
                decay_steps=tuple(round(share * steps) for share in self.decays),
                warmup_steps=1000,
                warmup_factor=0.001,
            ),
        )


BATCH_SIZE = 2
"""Images of a step, as in all the published schedules."""
SLOTS = 100
"""Slots of an image for objects. The sources, which need none, do not say what the most objects of an image are."""


def preset_names() -> list[str]:
    """Every name that `load_preset` knows."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def load_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
      ConfigError: there is none; lists those that there are.
    """
    known = preset_names()
    if name not in known:
        raise ConfigError(f'unknown preset "{name}": {did_you_mean(name, known)}known are {", ".join(known)}')
    return importlib.import_module(f"{__name__}.{name}").PRESET
