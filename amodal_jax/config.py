"""What an experiment is: frozen dataclasses with the paper's values as defaults.

Each section stands beside the part that reads it; those of training and data stand here. All of them can be imported
from here. A configuration travels as JSON beside every checkpoint, and a command line changes single fields of it
(`amodal_jax.config_json`).
"""

import dataclasses
from typing import Literal

from amodal_jax.errors import require
from amodal_jax.models.backbones.resnet import BackboneConfig
from amodal_jax.models.config import ModelConfig
from amodal_jax.models.heads.convolutions import HeadConfig
from amodal_jax.models.heads.mlc import MLCConfig
from amodal_jax.models.heads.occlusion import OcclusionConfig
from amodal_jax.models.preprocess import InputConfig
from amodal_jax.models.roi_pooling import RoIConfig
from amodal_jax.models.rpn import AnchorConfig, RPNConfig
from amodal_jax.models.selection import EvaluationConfig

__all__ = [
    "AnchorConfig",
    "BackboneConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "HeadConfig",
    "InputConfig",
    "MLCConfig",
    "ModelConfig",
    "OcclusionConfig",
    "RPNConfig",
    "RoIConfig",
    "TrainConfig",
]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The built dataset and how it is fed."""

    directory: str = "~/tensorflow_datasets/kins"
    """Where the built TFDS dataset is; the newest version within is taken."""
    train_split: str = "train"
    """The split that training reads."""
    test_split: str = "test"
    """The split that evaluation reads."""
    canvas_height: int = 376
    """Height of the canvas on which images travel to the device at their own resolution."""
    canvas_width: int = 1242
    """Width of that canvas."""
    max_instances: int = 100
    """Slots of an image for instances and crowds; an image with more is an error that names it."""
    flip: bool = True
    """Whether training images are flipped horizontally with a probability of one half."""

    def __post_init__(self):
        for name in ("canvas_height", "canvas_width", "max_instances"):
            require(getattr(self, name) > 0, f"data.{name}", "must be positive")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The paper's schedule (section 5)."""

    seed: int = 0
    """Seeds the first parameters, the order of the images and what is sampled of them."""
    steps: int = 24_000
    """Training steps."""
    batch_size: int = 8
    """Images of a step, of all devices together."""
    short_sides: tuple[int, ...] = ()
    """Short sides that each step's is drawn from, one named twice twice as often; empty: model.input.short_side."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with momentum, or Adam with decoupled weight decay."""
    learning_rate: float = 0.02
    """The learning rate after the warm-up."""
    scale_learning_rate: bool = False
    """Whether the learning rate is multiplied by batch_size / 8."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 1e-4
    """Weight decay of the kernels."""
    gradient_clip: float = 0.0
    """The largest global norm of the gradients; 0: any."""
    schedule: Literal["step", "cosine"] = "step"
    """Whether the learning rate falls by ten at each of decay_steps, or along half a cosine to 0 at the last step."""
    decay_steps: tuple[int, ...] = (20_000, 22_000)
    """The steps at which the learning rate falls by ten, with schedule "step"."""
    warmup_steps: int = 500
    """Steps over which the learning rate rises linearly."""
    warmup_factor: float = 1 / 3
    """Share of the learning rate that the warm-up begins with."""
    log_every: int = 20
    """Steps between two lines of the log."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """Last checkpoints that are kept, besides the best one."""
    evaluate_every: int = 4000
    """Steps between two evaluations; 0: none during training."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) > 0, f"train.{name}", "must be positive")
        for name in ("seed", "weight_decay", "gradient_clip", "warmup_steps", "evaluate_every"):
            require(getattr(self, name) >= 0, f"train.{name}", "must not be negative")
        require(self.learning_rate > 0, "train.learning_rate", "must be positive")
        require(0 <= self.momentum < 1, "train.momentum", "must be within [0, 1)")
        require(0 < self.warmup_factor <= 1, "train.warmup_factor", "must be within (0, 1]")
        require(list(self.decay_steps) == sorted(self.decay_steps), "train.decay_steps", "must be in order")
        require(min(self.short_sides, default=1) > 0, "train.short_sides", "must be positive")


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str = "asn_r50_fpn"
    """What the experiment is called in reports."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self):
        longest, network = self.model.input.long_side, self.model.network
        for short_side in self.train.short_sides:
            require(
                short_side <= longest,
                "train.short_sides",
                f"must not be over model.input.long_side, which is {longest}, as {short_side} is",
            )
        require(
            network.mirrors or not self.evaluation.flip,
            "evaluation.flip",
            f'must be false: networks of model.network.kind "{network.kind}" find nothing in mirror images',
        )
