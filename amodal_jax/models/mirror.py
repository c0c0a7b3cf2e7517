"""Horizontal flip at test: what a detector finds in an image and in its mirror image, as one.

As the published test code has it: Detectron's, which PANet's comes from (`im_detect_bbox_aug` with the heuristics
"UNION", `im_detect_mask_aug` with "SOFT_AVG"), and detectron2's (`GeneralizedRCNNWithTTA`).

1. The resized image is mirrored, and goes through the network as an image of its own, with proposals of its own.
2. The boxes of both with their scores are candidates together, of which non-maximum suppression keeps the best.
   Nothing is averaged here, as no box of one view belongs to one of the other. (detectron2 suppresses within each view
   before.)
3. Every box that is left is looked at in both views, and the probabilities of its masks are averaged. So is that of
   occlusion, which the sources do not have.

Shape shorthand in this module: B images, V = 2 B views: the images, then their mirror images in the same order; H2 x W2
the network's input, N proposals of a view, D detections of an image, M mask cells a side, K1 classes with the
background at 0. Boxes are in pixels of the network's input.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from amodal_jax.structures import NetworkInput, Proposals, SelectedBoxes

MaskProbabilities = dict[str, Float[Array, "_ _ _ _"]]
"""Masks by kind, [V, D, M, M] of views or [B, D, M, M] of images."""


def with_mirror_images(inputs: NetworkInput) -> NetworkInput:
    """The V views of B images without ground truth: each is mirrored within its own width, not that of the canvas."""
    columns = jnp.arange(inputs.pixels.shape[2])

    def mirrored(image: Float[Array, "H2 W2 3"], width: Int[Array, ""]) -> Float[Array, "H2 W2 3"]:
        content = image[:, jnp.maximum(width - 1 - columns, 0)]
        return jnp.where((columns < width)[None, :, None], content, 0.0)

    pixels = jnp.concatenate([inputs.pixels, jax.vmap(mirrored)(inputs.pixels, inputs.sizes[:, 1])])
    sizes, source_sizes = (jnp.concatenate([one, one]) for one in (inputs.sizes, inputs.source_sizes))
    return NetworkInput(pixels=pixels, sizes=sizes, source_sizes=source_sizes, truth=None)


def mirror_boxes(boxes: Float[Array, "B N 4"], widths: Int[Array, " B"]) -> Float[Array, "B N 4"]:
    """Boxes in images of these widths as they lie in the mirror images."""
    x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)
    return jnp.stack([widths[:, None] - x2, y1, widths[:, None] - x1, y2], axis=-1)


def unite(
    logits: Float[Array, "V N K1"], deltas: Float[Array, "V N K1 4"], proposals: Proposals, sizes: Int[Array, "V 2"]
) -> tuple[Float[Array, "B R K1"], Float[Array, "B R K1 4"], Proposals, Int[Array, "B 2"]]:
    """The proposals of both views of an image as R = 2 N proposals in the image, with their class scores and deltas.

    Args:
      logits: class logits of each view's proposals.
      deltas: how each class changes the proposals' boxes, as `ops.boxes.decode` takes it.
      proposals: of each view.
      sizes: (height, width) of each view in the network's input.

    Returns:
      Logits, deltas and proposals of the images, and the images' sizes.
    """
    images = len(sizes) // 2
    back = jnp.array([-1.0, 1.0, 1.0, 1.0])  # a mirrored box moves the other way, and grows alike
    boxes = mirror_boxes(proposals.boxes[images:], sizes[images:, 1])
    proposals = dataclasses.replace(proposals, boxes=jnp.concatenate([proposals.boxes[:images], boxes]))
    deltas = jnp.concatenate([deltas[:images], deltas[images:] * back])
    logits, deltas, proposals = jax.tree.map(
        lambda views: jnp.concatenate([views[:images], views[images:]], axis=1), (logits, deltas, proposals)
    )
    return logits, deltas, proposals, sizes[:images]


def in_both_views(selected: SelectedBoxes, sizes: Int[Array, "V 2"]) -> SelectedBoxes:
    """The boxes of B images as they lie in each of the V views of these sizes."""
    boxes = mirror_boxes(selected.boxes, sizes[: len(selected.boxes), 1])
    views = jax.tree.map(lambda of_images: jnp.concatenate([of_images, of_images]), selected)
    return dataclasses.replace(views, boxes=jnp.concatenate([selected.boxes, boxes]))


def average(
    occluded: Float[Array, "V D"] | None, masks: MaskProbabilities
) -> tuple[Float[Array, "B D"] | None, MaskProbabilities]:
    """The mean over both views of each box's probabilities, of occlusion and of its masks, in the image's frame."""

    def mean(views: Array, mirror_image: Array) -> Array:
        return (views[: len(views) // 2] + mirror_image[len(views) // 2 :]) / 2

    averaged = {kind: mean(of_kind, of_kind[..., ::-1]) for kind, of_kind in masks.items()}
    return None if occluded is None else mean(occluded, occluded), averaged
