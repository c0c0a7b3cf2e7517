"""The mask branch (paper section 4, Figure 6).

Shape shorthand in this module: N regions, S RoI cells a side (14), s cells a side of the guidance (7), M = 2 S mask
cells a side, K1 classes with the background at 0.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from amodal_jax.models.heads.convolutions import CONVOLUTIONS, first_layer
from amodal_jax.models.layers import Conv, Deconv2x2, Norm, OutputConv, blocks_to_pixels, make_norm, relu
from amodal_jax.models.roi_pooling import RegionFeatures

FUSION_LAYER = 3
"""The convolution after which PANet's fusion branches off; the level-specific one counts as the first."""


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
    fusion: nn.Module | None = None
    """PANet's fully-connected fusion of this branch: from the features after the third convolution to logits that are
    added to every class's."""
    norm: Norm = "none"
    """Normalisation after each convolution."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(
        self,
        features: RegionFeatures,
        guidance: Sequence[Float[Array, "N s s _"]] = (),
        labels: Int[Array, " N"] | None = None,
    ) -> Float[Array, "N M M K1"] | Float[Array, "N M M"]:
        """Mask logits, of all classes or of one of them.

        Args:
          features: RoI features of the mask branch.
          guidance: box and occlusion features of the same regions, for the MLC; empty without one.
          labels: the class of which each region's mask is asked for; None: all.
        """

        def layer_of(name: str) -> Callable[[Array], Array]:
            conv = Conv(self.channels, 3, use_bias=self.norm == "none", dtype=self.dtype, name=name)
            norm = make_norm(self.norm, self.dtype, f"{name}_norm")
            return lambda x: relu(norm(conv(x)))

        x, fused = features[0], None
        for layer in range(CONVOLUTIONS + 1):
            name = f"mask_fcn{layer}"
            if layer == 1:
                maps = (x,) if len(features) == 1 else features
                x = first_layer(layer_of, name, maps)
            elif layer > 1:
                x = layer_of(name)(x)
            if self.mlc is not None and layer == self.mlc_layer:
                box_features, occlusion_features = guidance
                x = self.mlc(box_features, occlusion_features, x)
            if self.fusion is not None and layer == FUSION_LAYER:
                fused = self.fusion(x)
        # The logits see each pixel alone, so that blocks come to their places with their few channels.
        x = relu(Deconv2x2(self.channels, dtype=self.dtype, in_blocks=True, name="conv5_mask")(x))
        x = x.reshape(*x.shape[:3], 2, 2, self.channels)
        init = initializers.normal(0.001)
        output = OutputConv(self.classes, dtype=self.dtype, kernel_init=init, name="mask_fcn_logits")
        logits = blocks_to_pixels(output(x) if labels is None else output.chosen(x, labels)[..., None])
        if fused is not None:
            logits = logits + fused[..., None]
        return logits if labels is None else logits[..., 0]
