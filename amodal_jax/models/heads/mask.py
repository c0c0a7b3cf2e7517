"""The mask branch (paper section 4, Figure 6).

Shape shorthand in this module: N regions, S RoI cells a side (14), s cells a side of the guidance (7), K1 classes with
the background at 0.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.heads.convolutions import CONVOLUTIONS
from amodal_jax.models.layers import Conv, Deconv2x2, Norm, OutputConv, make_norm


class MaskHead(nn.Module):
    """Four 3x3 convolutions, a stride-2 deconvolution and class-specific logits; MLC's features join on the way."""

    channels: int
    """Channels of the convolutions."""
    classes: int
    """K1: foreground classes and the background, whose mask nothing trains (as in torchvision)."""
    mlc: nn.Module | None = None
    """The coding of this branch; amodal and inmodal branch have one each."""
    mlc_layer: int = 1
    """b of MLC(a, b): the convolution after which features are joined; 0 is before the first."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(
        self, features: Float[Array, "N S S _"], guidance: Sequence[Float[Array, "N s s _"]] = ()
    ) -> Float[Array, "N 2*S 2*S K1"]:
        """Mask logits.

        Args:
          features: RoI features of the mask branch.
          guidance: box and occlusion features of the same regions, for the MLC; empty without one.
        """
        x = features
        for layer in range(CONVOLUTIONS + 1):
            if layer > 0:
                use_bias = self.norm == "none"
                conv = Conv(self.channels, 3, use_bias=use_bias, dtype=self.dtype, name=f"mask_fcn{layer}")
                x = nn.relu(make_norm(self.norm, self.dtype, f"mask_fcn{layer}_norm")(conv(x)))
            if self.mlc is not None and layer == self.mlc_layer:
                box_features, occlusion_features = guidance
                x = self.mlc(box_features, occlusion_features, x)
        x = nn.relu(Deconv2x2(self.channels, dtype=self.dtype, name="conv5_mask")(x))
        init = initializers.normal(0.001)
        return OutputConv(self.classes, dtype=self.dtype, kernel_init=init, name="mask_fcn_logits")(x)
