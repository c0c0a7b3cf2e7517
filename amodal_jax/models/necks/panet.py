"""PANet's bottom-up path on top of the feature pyramid (Liu et al., 2018), in the form of the official KINS code.

Sources: ShuLiu1993/PANet, `lib/modeling/FPN.py`; the "Reference Code" of
qqlu/Amodal-Instance-Segmentation-through-KINS-Dataset, `lib/modeling/FPN_PANET1_v2_2_v1.py`, which has no normalisation
and a ReLU after each convolution.

Shape shorthand in this module: B images, H x W a finer level's size, h x w a coarser level's size, C channels.
"""

import dataclasses
from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.branch import Branch
from amodal_jax.models.layers import Conv, Norm, kaiming_uniform, make_norm, relu
from amodal_jax.models.necks import NeckConfig
from amodal_jax.models.necks.fpn import FPN

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class PANetConfig(NeckConfig):
    """The feature pyramid network and a bottom-up path behind it; it has no settings of its own."""

    def build(self, model: "ModelConfig") -> "PANet":
        """The neck of a network."""
        return PANet(model.fpn_channels, norm=model.heads.norm, dtype=model.dtype)


class BottomUpPath(nn.Module):
    """From P2..P5 to N2..N5: each level is the finer one's, halved, and its own of the pyramid."""

    channels: int
    """Channels of every level."""
    norm: Norm
    """Normalisation after each convolution."""
    dtype: DTypeLike
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, levels: tuple[Float[Array, "B _ _ C"], ...]) -> tuple[Float[Array, "B _ _ C"], ...]:
        """N2 is P2; N(i + 1) = ReLU(merge(ReLU(down(Ni)) + P(i + 1))), where `down` has a stride of 2."""

        def convolve(x: Array, stride: int, name: str) -> Array:
            use_bias = self.norm == "none"
            conv = Conv(
                self.channels, 3, stride, use_bias=use_bias, dtype=self.dtype, kernel_init=kaiming_uniform, name=name
            )
            return relu(make_norm(self.norm, self.dtype, f"{name}_norm")(conv(x)))

        outputs = [levels[0]]
        for number, level in enumerate(levels[1:], start=3):
            halved = convolve(outputs[-1], 2, f"down{number}")
            outputs.append(convolve(halved + level, 1, f"merge{number}"))
        return tuple(outputs)


class PANet(nn.Module):
    """The top-down pathway, whose layers are named as the FPN's, and the bottom-up path."""

    channels: int = 256
    """Channels of every level."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        self.top_down = FPN(self.channels, self.norm, self.dtype)
        nn.share_scope(self, self.top_down)
        self.bottom_up = BottomUpPath(self.channels, self.norm, self.dtype)

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return "FPN with PANet's bottom-up path"

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers. What comes behind the new path is taken from weights without it."""
        return (Branch("fpn", inputs=("backbone",)), Branch("fpn/bottom_up", inputs=("fpn",)))

    def __call__(self, stages: tuple[Float[Array, "B _ _ _"], ...]) -> tuple[Float[Array, "B _ _ C"], ...]:
        """C2, C3, C4, C5 to N2, N3, N4, N5, N6 at strides 4, 8, 16, 32 and 64; N6 is every second pixel of N5."""
        levels = self.bottom_up(self.top_down(stages)[:4])
        return (*levels, levels[-1][:, ::2, ::2])
