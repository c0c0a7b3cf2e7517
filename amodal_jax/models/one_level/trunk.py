"""The layers that all regions share: a backbone whose last stage is dilated, and the RPN on the stage before.

Shape shorthand in this module: B images, h x w cells at stride 16, C channels.
"""

from typing import TYPE_CHECKING, Final

from flax import linen as nn
from jaxtyping import Array, Float

from amodal_jax.models.backbones.resnet import ResNet
from amodal_jax.models.branch import Branch
from amodal_jax.models.rpn import RegionProposalNetwork
from amodal_jax.structures import AnchorScores, NetworkInput

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig

STRIDE: Final = 16
"""Input pixels a cell of the features."""


class Trunk(nn.Module):
    """Pixels to C5 at stride 16, and what the RPN says of the anchors on C4 (FCIS section 3.2, after R-FCN).

    The anchors that leave the image are trained as well, and proposals of any size count, as in the detector with
    levels; FCIS' own code leaves such anchors out and drops proposals thinner than two pixels.
    """

    backbone: ResNet
    """Pixels to C2..C5, of which C4 and C5 are at stride 16."""
    rpn: RegionProposalNetwork
    """C4 to proposals."""

    @classmethod
    def of(cls, model: "ModelConfig", rpn_channels: int) -> "Trunk":
        """That of a configuration, with as many channels in the RPN's hidden convolutions."""
        return cls(
            backbone=ResNet(model.backbone, output_stride=STRIDE, dtype=model.dtype),
            rpn=RegionProposalNetwork(
                model.rpn, model.anchors, (STRIDE,), rpn_channels, inputs=("backbone",), dtype=model.dtype
            ),
        )

    def setup(self):
        nn.share_scope(self, self.rpn)

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the paths of the parameters begin that are not trained."""
        return tuple(f"backbone/{name}" for name in self.backbone.frozen)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        return (Branch("backbone"), *self.rpn.branches)

    def __call__(self, inputs: NetworkInput) -> tuple[Float[Array, "B h w C"], AnchorScores]:
        """C5 of the network's input, and what the RPN says of its anchors."""
        *_, c4, c5 = self.backbone(inputs.pixels)
        canvas = (inputs.pixels.shape[1], inputs.pixels.shape[2])
        return c5, self.rpn((c4,), canvas)
