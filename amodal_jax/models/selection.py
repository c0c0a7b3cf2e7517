"""From class scores and box deltas of proposals to the final boxes of an image.

Shape shorthand in this module: N proposals, K foreground classes, K1 = K + 1 with the background at 0, D detections.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amodal_jax.errors import require
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.nms import nms
from amodal_jax.structures import Proposals, SelectedBoxes

MINIMUM_SIDE = 1e-2  # pixels; torchvision drops thinner detections
CLASSES_AT_ONCE = 8  # bounds the memory of class-wise NMS, N * N booleans each


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which detections count, and how they are computed."""

    batch_size: int = 8
    """Images a step, of all devices together."""
    score_threshold: float = 0.05
    """Detections up to this score are dropped."""
    nms_threshold: float = 0.5
    """IoU over which detections of a class suppress each other."""
    max_detections: int = 100
    """Detections of an image, of all classes; an evaluation says in how many images this may cut some off."""
    mask_threshold: float = 0.5
    """Pixels of a probability over this belong to a mask."""

    def __post_init__(self):
        for name in ("batch_size", "max_detections"):
            require(getattr(self, name) > 0, f"evaluation.{name}", "must be positive")
        for name in ("score_threshold", "nms_threshold", "mask_threshold"):
            require(0 <= getattr(self, name) <= 1, f"evaluation.{name}", "must be within [0, 1]")


def select_detections(
    logits: Float[Array, "N K1"],
    deltas: Float[Array, "N K1 4"],
    proposals: Proposals,
    height: Array,
    width: Array,
    *,
    box_weights: tuple[float, float, float, float],
    settings: EvaluationConfig,
) -> SelectedBoxes:
    """One image's detections (torchvision's `postprocess_detections`).

    Every proposal is a candidate for every class, with the box that its class's deltas give, clipped to the image of
    `height` x `width` input pixels; candidates over the score threshold go through NMS class by class, and the best
    `max_detections` of all classes remain.
    """
    scores = jax.nn.softmax(logits)[:, 1:].T  # [K, N]
    boxes = box_ops.decode(deltas[:, 1:], proposals.boxes[:, None], weights=box_weights)
    boxes = box_ops.clip(boxes, height, width).transpose(1, 0, 2)  # [K, N, 4]
    sides = boxes[..., 2:] - boxes[..., :2]
    valid = proposals.valid & (scores > settings.score_threshold) & (sides >= MINIMUM_SIDE).all(-1)

    def keep_in_class(candidates: tuple[Array, Array, Array]) -> Array:
        class_boxes, class_scores, class_valid = candidates
        return nms(class_boxes, class_scores, class_valid, settings.nms_threshold)

    keep = jax.lax.map(keep_in_class, (boxes, scores, valid), batch_size=CLASSES_AT_ONCE)
    candidates = jnp.where(keep, scores, -jnp.inf).reshape(-1)
    count = min(settings.max_detections, candidates.shape[0])
    top_scores, top = jax.lax.top_k(candidates, count)
    fill = settings.max_detections - count
    found = jnp.pad(top_scores > -jnp.inf, (0, fill))
    return SelectedBoxes(
        boxes=jnp.pad(boxes.reshape(-1, 4)[top], ((0, fill), (0, 0))),
        scores=jnp.where(found, jnp.pad(top_scores, (0, fill)), 0.0),
        labels=jnp.pad((top // scores.shape[1]).astype(jnp.int32), (0, fill)),
        valid=found,
    )
