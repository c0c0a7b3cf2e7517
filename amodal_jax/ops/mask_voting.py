"""Mask voting: the mask of a detection as the weighted mean of those of all candidates around it (MNC section 4).

Shape shorthand: D detections, N candidates, K classes, V voters of a detection, T kinds of masks, S mask cells a side,
W cells a side of the window.

A candidate whose IoU with a box is a half or more lies within the box grown by its own width and height on each side.
The vote is taken there, on W x W cells, and loses nothing; MNC's and FCIS' own code takes it on the pixels of the whole
image. Where a box has as many pixels as a third of the window has cells, both are the same to the last bit.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from amodal_jax.ops import boxes as box_ops

VOTER_IOU = 0.5
"""Candidates from this IoU with a detection on vote on its mask."""
VOTERS = 16
"""The most voters of a detection, those of the highest weight."""
WINDOW = 84
"""Cells a side of the window; a third of them cover the detection's box."""


def vote(
    frames: Float[Array, "D 4"],
    labels: Int[Array, " D"],
    boxes: Float[Array, "N 4"],
    scores: Float[Array, "N K"],
    valid: Bool[Array, " N"],
    masks: Float[Array, "T N S S"],
    *,
    threshold: float,
) -> tuple[Float[Array, "D 4"], Float[Array, "D T S S"]]:
    """The voted masks of one image's detections, and their tight boxes.

    Every valid candidate of IoU VOTER_IOU or more with a detection's frame is a voter; its weight is its score of the
    detection's class, over the sum of all voters'. Its mask is resized bilinearly to its box in whole pixels and is 1
    from `threshold` on. The weighted sum of these is the merged mask; where that reaches `threshold` is the detection.
    Its box is the smallest around that, and the merged mask is resized bilinearly to S x S cells of the box.

    Args:
      frames: boxes that non-maximum suppression kept, xyxy in pixels.
      labels: their classes.
      boxes: of the candidates.
      scores: of the candidates.
      valid: of the candidates.
      masks: probability in the frames of `boxes`. The first kind decides on the detections' boxes; the masks of other
        kinds are in the same.
      threshold: of the voters' masks and of their sum.

    Returns:
      The detections' boxes and their masks. One whose merged mask is nowhere as high as `threshold` keeps its frame.
    """
    voters, weights = _voters(frames, jnp.take(scores, labels, axis=1).T, boxes, valid)
    merged = _merge(frames, jnp.round(boxes)[voters], weights, masks[:, voters], threshold)
    covered = merged[:, 0] >= threshold
    found = covered.any(axis=(1, 2))[:, None]
    cells = jnp.arange(WINDOW)
    ends = []
    for axis in (2, 1):  # columns that are covered in any row, and the other way round
        inside = covered.any(axis=3 - axis)
        first = jnp.min(jnp.where(inside, cells, WINDOW), axis=1)
        last = jnp.max(jnp.where(inside, cells, -1), axis=1)
        ends.append(jnp.stack([first, last + 1], axis=1))
    (x, y), third = ends, WINDOW // 3
    edges = jnp.where(found, jnp.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1), jnp.array([1, 1, 2, 2]) * third)
    size = masks.shape[-1]
    to_rows, to_columns = (_resizing(edges[:, axis], edges[:, axis + 2], size) for axis in (1, 0))
    resized = jnp.einsum("dsy,dtyx,dux->dtsu", to_rows, merged, to_columns, precision="highest")
    corner, cell = _window(frames)
    tight = jnp.concatenate([corner, corner], axis=1) + edges * jnp.concatenate([cell, cell], axis=1)
    # Weights that are 1 in sum are a little more when they are rounded.
    return jnp.where(found, tight, frames), jnp.clip(resized, 0, 1)


def _voters(frames, scores, boxes, valid):
    """The indices [D, V] and weights [D, V] of each detection's voters, from `scores` [D, N] of its class.

    Where there are fewer than V, others have a weight of zero.
    """
    votes = valid & (box_ops.pairwise_iou(frames, boxes) >= VOTER_IOU)
    weights, voters = jax.lax.top_k(jnp.where(votes, scores, 0.0), min(VOTERS, boxes.shape[0]))
    total = jnp.sum(weights, axis=1, keepdims=True)
    return voters, weights / jnp.where(total > 0, total, 1)


def _window(frames):
    """The top left corner (x, y) [D, 2] of each frame's window, and its cells' width and height [D, 2] in pixels."""
    side = frames[:, 2:] - frames[:, :2]
    return frames[:, :2] - side, side * 3 / WINDOW


def _merge(frames, boxes, weights, masks, threshold):
    """The weighted sums [D, T, W, W] of the masks [T, D, V, S, S] of voters, of `boxes` [D, V, 4], in the windows."""
    corner, cell = _window(frames)
    size = masks.shape[-1]
    interpolations = []
    for axis in (1, 0):
        centres = corner[:, axis, None] + (jnp.arange(WINDOW) + 0.5) * cell[:, axis, None]
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        source = (centres[:, None] - low) / jnp.maximum(high - low, 1) * size - 0.5
        inside = (centres[:, None] >= low) & (centres[:, None] < high)
        interpolations.append(_hat(jnp.clip(source, 0, size - 1), size) * inside[..., None])
    # In the TF32 that GPUs take by default, a probability at the threshold would fall on either side of it.
    resized = jnp.einsum("dvys,tdvsu,dvxu->tdvyx", interpolations[0], masks, interpolations[1], precision="highest")
    return jnp.einsum("dv,tdvyx->dtyx", weights, (resized >= threshold).astype(jnp.float32), precision="highest")


def _resizing(first, end, size):
    """The bilinear resizing [D, S, W] of the cells from `first` to before `end` [D] to S."""
    steps = (jnp.arange(size) + 0.5) / size
    source = first[:, None] + steps * (end - first)[:, None] - 0.5
    return _hat(jnp.clip(source, first[:, None], end[:, None] - 1), WINDOW)


def _hat(positions, length):
    """The weights [..., length] of cells in a bilinear sample at `positions` [...]."""
    return jnp.maximum(1 - jnp.abs(positions[..., None] - jnp.arange(length)), 0)
