"""What a measurement is asked for."""

import dataclasses
from pathlib import Path
from typing import Literal

from amodal_jax.config import Config


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line of `scripts/benchmark.py`; a measurement reads what concerns it."""

    config: Config
    height: int  # pixels of the image, which the network sees as it is
    width: int
    batch_size: int  # images a step, of all devices together
    repeats: int
    images: int  # in the records that the pipeline and the evaluation read
    image_folder: Path | None = None  # PNG files to make those records from; None: synthetic scenes
    checkpoint: Path | None = None  # whose network to evaluate or to predict with; None: a random one
    torch_python: str | None = None  # of an environment with torchvision, to be measured beside ours
    torch_setup: str | None = None  # a module to be imported there first
    program: Literal["training-step", "inference"] = "training-step"  # that is compiled for H100s
    cards: int = 1  # H100s
    plugin: Path | None = None  # the folder of their compiler's package; None: it is installed with the others

    def sized(self) -> Config:
        """The configuration for images of just this size: network input and canvas, no resizing."""
        model_input = dataclasses.replace(
            self.config.model.input,
            short_side=min(self.height, self.width),
            long_side=max(self.height, self.width),
            height=self.height,
            width=self.width,
        )
        return dataclasses.replace(
            self.config,
            model=dataclasses.replace(self.config.model, input=model_input),
            data=dataclasses.replace(self.config.data, canvas_height=self.height, canvas_width=self.width),
            train=dataclasses.replace(self.config.train, batch_size=self.batch_size, short_sides=()),
            evaluation=dataclasses.replace(self.config.evaluation, batch_size=self.batch_size),
        )
