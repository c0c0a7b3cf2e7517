"""Region proposal network (Ren et al., 2015) on a feature pyramid, with torchvision's structure and semantics.

Shape shorthand in this module: B images, N proposals, C channels; each level has as many anchors as cells times aspect
ratios.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from amodal_jax.models.layers import Conv, OutputConv, normal_001
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.nms import nms
from amodal_jax.ops.top_k import top_k
from amodal_jax.structures import Proposals

MINIMUM_SIDE = 1e-3  # pixels; torchvision drops thinner proposals
BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the proposals' box coder


class RPNHead(nn.Module):
    """3x3 convolutions with ReLU, then objectness and box deltas of each anchor; shared by all levels."""

    channels: int
    """Channels of the pyramid and of the hidden convolutions."""
    anchors_per_cell: int
    """Aspect ratios (one size a level)."""
    convolutions: int = 1
    """Hidden convolutions, conv, conv2 and so on."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the outputs are float32."""

    @nn.compact
    def __call__(
        self, levels: Sequence[Float[Array, "B _ _ C"]]
    ) -> tuple[list[Float[Array, "B _"]], list[Float[Array, "B _ 4"]]]:
        """Levels to objectness logits and box deltas of each, with anchors in the order row, column, ratio."""

        def output(features: int, name: str) -> OutputConv:
            return OutputConv(features, dtype=self.dtype, kernel_init=normal_001, name=name)

        names = ["conv", *(f"conv{index}" for index in range(2, self.convolutions + 1))]
        convolutions = [Conv(self.channels, 3, dtype=self.dtype, kernel_init=normal_001, name=name) for name in names]
        cls_logits = output(self.anchors_per_cell, "cls_logits")
        bbox_pred = output(4 * self.anchors_per_cell, "bbox_pred")
        logits, deltas = [], []
        for hidden in levels:
            for convolution in convolutions:
                hidden = nn.relu(convolution(hidden))
            batch = hidden.shape[0]
            logits.append(cls_logits(hidden).reshape(batch, -1))
            deltas.append(bbox_pred(hidden).reshape(batch, -1, 4))
        return logits, deltas


def select_proposals(
    logits: Sequence[Float[Array, " _"]],
    deltas: Sequence[Float[Array, "_ 4"]],
    anchors: Sequence[Float[np.ndarray, "_ 4"]],
    height: Array,
    width: Array,
    *,
    pre_nms: int,
    post_nms: int,
    nms_threshold: float,
) -> Proposals:
    """The proposals of one image, from the outputs of every level (torchvision's `filter_proposals`).

    Of each level the `pre_nms` anchors of highest objectness are decoded, clipped to the image of `height` x `width`
    input pixels and put through NMS; the `post_nms` best of all levels remain, best first. No gradient flows back.

    Returns:
      Proposals without the leading B: boxes [post_nms, 4], scores and valid [post_nms].
    """
    # Levels are padded to one length, so that a single NMS loop serves all of them.
    length = min(pre_nms, max(level.shape[0] for level in logits))
    boxes, scores = [], []
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
        count = min(length, level_logits.shape[0])
        top_scores, top = top_k(jax.lax.stop_gradient(level_logits), count)
        decoded = box_ops.decode(
            jax.lax.stop_gradient(level_deltas)[top], jnp.asarray(level_anchors)[top], weights=BOX_WEIGHTS
        )
        boxes.append(jnp.pad(box_ops.clip(decoded, height, width), ((0, length - count), (0, 0))))
        scores.append(jnp.pad(top_scores, (0, length - count), constant_values=-jnp.inf))
    all_boxes, all_scores = jnp.stack(boxes), jnp.stack(scores)
    sides = all_boxes[..., 2:] - all_boxes[..., :2]
    valid = (sides >= MINIMUM_SIDE).all(-1) & (all_scores > -jnp.inf)
    keep = jax.vmap(lambda b, s, v: nms(b, s, v, nms_threshold))(all_boxes, all_scores, valid)
    scores_kept = jnp.where(keep, all_scores, -jnp.inf).reshape(-1)
    count = min(post_nms, scores_kept.shape[0])
    top_scores, top = jax.lax.top_k(scores_kept, count)
    fill = post_nms - count
    return Proposals(
        boxes=jnp.pad(all_boxes.reshape(-1, 4)[top], ((0, fill), (0, 0))),
        scores=jnp.pad(top_scores, (0, fill), constant_values=-jnp.inf),
        valid=jnp.pad(top_scores > -jnp.inf, (0, fill)),
    )
