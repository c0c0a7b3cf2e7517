"""The pytrees that travel between stages.

Shape shorthand: B images, H x W canvas of native pixels, H2 x W2 the network's input, G ground-truth slots,
N proposals, S samples, A anchors of a level, L levels, D detection slots, M mask cells a side. Boxes are
[x1, y1, x2, y2] in absolute pixels. Wherever slots are padded, a boolean `valid` stands beside them.
"""

import dataclasses
from typing import Any, Literal

import numpy as np
from flax import struct

Array = Any
"""jax.Array, np.ndarray, or what stands for one under tracing (a shape, an axis), so that no check is possible."""

MaskPaste = Literal["pixel_centres", "torchvision"]
"""How a mask in the frame of its box comes into the image; see `masks.paste.paste_mask`."""


@struct.dataclass
class GroundTruth:
    """The instances of each image, and its crowds: regions of many objects, which training is not to look at."""

    boxes: Array  # float32 [B, G, 4], amodal, pixels of the canvas
    labels: Array  # int32 [B, G], 0 is the first foreground class
    occlusion_ratio: Array  # float32 [B, G], invisible area / amodal area
    amodal_crops: Array  # uint8 [B, G, 112, 14], bit-packed masks in the frame of the amodal box
    inmodal_crops: Array  # uint8 [B, G, 112, 14], in the frame of the amodal box too
    cluster: Array  # int32 [B, G], the same for those that overlap, directly or through others; -1 where unknown
    order: Array  # int32 [B, G], the depth order in the cluster, the smallest nearest; -1 where unknown
    valid: Array  # bool [B, G], true for instances
    crowd: Array  # bool [B, G], true for crowds, of which only the boxes count


@struct.dataclass
class Batch:
    """What a training step eats: any iterator of these can feed `train`."""

    images: Array  # uint8 [B, H, W, 3] RGB at native resolution, in the top left of the canvas
    sizes: Array  # int32 [B, 2], true (height, width)
    image_ids: Array  # int64 [B]; on a device JAX makes them int32, but nothing reads them there
    valid: Array  # bool [B]; false for the images that fill up an evaluation's last batch
    truth: GroundTruth


@struct.dataclass
class NetworkInput:
    """Images as the network sees them, with all that was computed of them on the way."""

    pixels: Array  # float32 [B, H2, W2, 3], normalised, 0 outside the resized image
    sizes: Array  # int32 [B, 2], (height, width) of the resized images
    source_sizes: Array  # int32 [B, 2], (height, width) of the images as they came
    truth: Any  # GroundTruth with boxes in pixels of the network's input; None in inference


@struct.dataclass
class AnchorScores:
    """What the RPN says of every anchor."""

    logits: list[Array]  # L of float32 [B, A], objectness
    deltas: list[Array]  # L of float32 [B, A, 4]
    anchors: tuple[Array, ...]  # L of float32 [A, 4], pixels of the network's input


@struct.dataclass
class AnchorSamples:
    """Anchors that the RPN's losses see."""

    indices: Array  # int32 [B, S], into the anchors of all levels
    truth_index: Array  # int32 [B, S]
    positive: Array  # bool [B, S]
    valid: Array  # bool [B, S]


@struct.dataclass
class Proposals:
    """Regions that the RPN proposes, best first."""

    boxes: Array  # float32 [B, N, 4], pixels of the network's input
    scores: Array  # float32 [B, N], objectness logits
    valid: Array  # bool [B, N]


@struct.dataclass
class RoISamples:
    """Regions that the heads see: the positive ones in the first slots."""

    boxes: Array  # float32 [B, S, 4], pixels of the network's input
    truth_index: Array  # int32 [B, S]
    positive: Array  # bool [B, S]
    valid: Array  # bool [B, S]


@struct.dataclass
class SelectedBoxes:
    """The boxes that an image's detections have, best first."""

    boxes: Array  # float32 [B, D, 4], pixels of the network's input
    scores: Array  # float32 [B, D]
    labels: Array  # int32 [B, D], 0 is the first foreground class
    valid: Array  # bool [B, D]


@struct.dataclass
class Detections:
    """What the network finds, best first; the optional fields are None where it has no such branch."""

    boxes: Array  # float32 [B, D, 4], pixels of the original image
    scores: Array  # float32 [B, D]
    labels: Array  # int32 [B, D], 0 is the first foreground class
    valid: Array  # bool [B, D]
    occluded: Array | None  # float32 [B, D], probability
    amodal_masks: Array | None  # float32 [B, D, M, M], probability in the frame of the box
    inmodal_masks: Array | None  # float32 [B, D, M, M]


@dataclasses.dataclass(frozen=True)
class Instances:
    """The objects of one image, as NumPy arrays, best first."""

    boxes: np.ndarray  # float32 [n, 4] xyxy, the original image's pixels
    scores: np.ndarray  # float32 [n], descending
    labels: np.ndarray  # int32 [n], indices into class_names
    class_names: tuple[str, ...]
    occluded: np.ndarray | None  # float32 [n], probability; None without an occlusion branch
    amodal_masks: np.ndarray | None  # bool [n, H, W]; None without the branch
    inmodal_masks: np.ndarray | None  # bool [n, H, W]; None without the branch

    def __len__(self) -> int:
        return len(self.scores)
