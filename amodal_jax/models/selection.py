"""From class scores and box deltas of proposals to the final boxes of an image.

Shape shorthand in this module: N proposals, K foreground classes, K1 = K + 1 with the background at 0, D detections, n
of them of a class.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amodal_jax.errors import require
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.nms import nms
from amodal_jax.structures import MaskPaste, Proposals, SelectedBoxes

MINIMUM_SIDE = 1e-2  # pixels; torchvision drops thinner detections
COCO_DETECTIONS_PER_CLASS = 100  # that COCOeval counts in an image
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
    max_detections_per_class: int = COCO_DETECTIONS_PER_CLASS
    """The most detections of a class in an image."""
    max_detections: int = 1000
    """The most detections in an image: room for ten full classes. Empty room costs memory alone, 6 kB each."""
    mask_threshold: float = 0.5
    """Pixels of this probability on belong to a mask; with torchvision's paste, pixels over it."""
    flip: bool = False
    """Whether detections are those of an image and of its mirror image together (`models.mirror`)."""
    mask_paste: MaskPaste = "pixel_centres"
    """How masks come into the image; torchvision's way is for its own weights."""

    def __post_init__(self):
        for name in ("batch_size", "max_detections_per_class", "max_detections"):
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
    `height` x `width` input pixels; `keep_best` chooses among them.
    """
    scores = jax.nn.softmax(logits)[:, 1:].T  # [K, N]
    boxes = box_ops.decode(deltas[:, 1:], proposals.boxes[:, None], weights=box_weights)
    boxes = box_ops.clip(boxes, height, width).transpose(1, 0, 2)  # [K, N, 4]
    return keep_best(scores, boxes, proposals.valid, settings=settings)


def keep_best(
    scores: Float[Array, "K N"],
    boxes: Float[Array, "K N 4"] | Float[Array, "N 4"],
    valid: Bool[Array, " N"],
    *,
    settings: EvaluationConfig,
) -> SelectedBoxes:
    """One image's detections among candidates, each with a score of every class and a box of each or one for all.

    Candidates over the score threshold go through NMS class by class. The best `max_detections_per_class` of each class
    remain, and of those the best `max_detections`. D is no more than there can be.
    """
    boxes = jnp.broadcast_to(boxes, (*scores.shape, 4))
    sides = boxes[..., 2:] - boxes[..., :2]
    candidates = valid & (scores > settings.score_threshold) & (sides >= MINIMUM_SIDE).all(-1)

    def keep_in_class(of_class: tuple[Array, Array, Array]) -> Array:
        class_boxes, class_scores, class_valid = of_class
        return nms(class_boxes, class_scores, class_valid, settings.nms_threshold)

    keep = jax.lax.map(keep_in_class, (boxes, scores, candidates), batch_size=CLASSES_AT_ONCE)
    count = min(settings.max_detections_per_class, scores.shape[1])
    class_scores, places = jax.lax.top_k(jnp.where(keep, scores, -jnp.inf), count)  # [K, n]
    class_boxes = jnp.take_along_axis(boxes, places[..., None], axis=1)  # [K, n, 4]
    top_scores, top = jax.lax.top_k(class_scores.reshape(-1), min(settings.max_detections, class_scores.size))
    found = top_scores > -jnp.inf
    return SelectedBoxes(
        boxes=class_boxes.reshape(-1, 4)[top],
        scores=jnp.where(found, top_scores, 0.0),
        labels=(top // count).astype(jnp.int32),
        valid=found,
    )
