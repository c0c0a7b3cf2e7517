"""Feature pyramid network (Lin et al., 2017) with torchvision's structure and names.

Shape shorthand in this module: B images, H x W a finer level's size, h x w a coarser level's size, C channels.
"""

import dataclasses
from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.branch import Branch
from amodal_jax.models.layers import Conv, Norm, kaiming_uniform, make_norm
from amodal_jax.models.necks import NeckConfig

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class FPNConfig(NeckConfig):
    """The feature pyramid network; it has no settings of its own."""

    def build(self, model: "ModelConfig") -> "FPN":
        """The neck of a network."""
        return FPN(model.fpn_channels, norm=model.heads.norm, dtype=model.dtype)


class FPN(nn.Module):
    """Top-down pathway over the backbone's stages."""

    channels: int = 256
    """Channels of every level."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return "FPN"

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        return (Branch("fpn", inputs=("backbone",)),)

    @nn.compact
    def __call__(self, stages: tuple[Float[Array, "B _ _ _"], ...]) -> tuple[Float[Array, "B _ _ C"], ...]:
        """C2, C3, C4, C5 to P2, P3, P4, P5, P6 at strides 4, 8, 16, 32 and 64; P6 is every second pixel of P5."""
        use_bias = self.norm == "none"
        merged = None
        levels = []
        for level in range(len(stages), 0, -1):
            lateral = Conv(
                self.channels, 1, use_bias=use_bias, dtype=self.dtype, kernel_init=kaiming_uniform, name=f"inner{level}"
            )(stages[level - 1])
            lateral = make_norm(self.norm, self.dtype, f"inner{level}_norm")(lateral)
            merged = (
                lateral if merged is None else lateral + upsample_nearest(merged, (lateral.shape[1], lateral.shape[2]))
            )
            output = Conv(
                self.channels, 3, use_bias=use_bias, dtype=self.dtype, kernel_init=kaiming_uniform, name=f"layer{level}"
            )(merged)
            levels.insert(0, make_norm(self.norm, self.dtype, f"layer{level}_norm")(output))
        levels.append(levels[-1][:, ::2, ::2])
        return tuple(levels)


def upsample_nearest(inputs: Float[Array, "B h w C"], size: tuple[int, int]) -> Float[Array, "B H W C"]:
    """Nearest-neighbour resize to `size` (H, W), each twice the input's or one less, as stages of stride 2 have it.

    There, repeating pixels and cutting the rest off is torch's floor(i * h / H), and its gradient needs no scatter.
    """
    batch, height, width, channels = inputs.shape
    repeated = jnp.broadcast_to(inputs[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)[:, : size[0], : size[1]]
