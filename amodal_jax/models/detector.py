"""The whole network: image to losses, image to detections (paper section 4, Figure 6).

The way of the data is `features` -> `propose` -> (training) `sample` -> `loss_terms`, or (inference) `detect`.

Shape shorthand in this module: B images, H x W canvas of native pixels, H2 x W2 the network's input, G ground-truth
slots, N proposals, S sampled regions, D detections, C channels, s cells a side.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from amodal_jax import losses as loss
from amodal_jax.losses import Mean
from amodal_jax.models.detections import SelectedBoxes, select_detections
from amodal_jax.models.rpn import BOX_WEIGHTS as RPN_BOX_WEIGHTS
from amodal_jax.models.rpn import select_proposals
from amodal_jax.models.targets import AnchorSamples, RoISamples, sample_anchors, sample_rois
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.anchors import pyramid_anchors
from amodal_jax.ops.masks import mask_targets
from amodal_jax.ops.resize import resize_to_canvas, resized_size
from amodal_jax.ops.roi_align import multilevel_roi_align
from amodal_jax.structures import Batch, Detections, GroundTruth, Proposals

LEVEL_STRIDES = (4, 8, 16, 32, 64)  # of P2..P6
ROI_STRIDES = LEVEL_STRIDES[:4]  # of P2..P5, which regions are pooled from
MASK_BLOCK = 16  # detections of an image that go through the mask branches at once


class Detector(nn.Module):
    """Mask R-CNN with amodal and inmodal masks, an occlusion branch and Multi-Level Coding, each optional.

    The parts are modules of their own; `amodal_jax.build` makes them from a configuration.
    """

    backbone: nn.Module
    """Normalised image to C2..C5."""
    fpn: nn.Module
    """C2..C5 to P2..P6."""
    rpn_head: nn.Module
    """P2..P6 to objectness and deltas."""
    box_head: nn.Module
    """RoI features to a hidden vector and the features of its convolutions."""
    box_predictor: nn.Module
    """Hidden vector to class scores and deltas."""
    occlusion_head: nn.Module | None
    """As `box_head`."""
    occlusion_predictor: nn.Module | None
    """Hidden vector to two logits."""
    amodal_mask_head: nn.Module | None
    """RoI features (and guidance) to mask logits."""
    inmodal_mask_head: nn.Module | None
    """As `amodal_mask_head`."""
    guidance_layer: int | None
    """a of MLC(a, b): the box and occlusion convolution whose features guide the masks; None without MLC."""

    input_size: tuple[int, int]
    """Height and width of the network's input canvas."""
    short_side: int
    """Images are resized so that their shorter side has this many pixels,"""
    long_side: int
    """or the longer side this many, whichever is smaller; they have to fit the input canvas then."""
    mean: tuple[float, ...]
    """Of the channels, in [0, 1]."""
    std: tuple[float, ...]
    """Of the channels, in [0, 1]."""
    channel_order: Literal["rgb", "bgr"]
    """What the backbone sees."""

    anchor_sizes: tuple[float, ...]
    """Sides of the anchors of P2..P6, in input pixels."""
    aspect_ratios: tuple[float, ...]
    """Heights over widths of the anchors."""
    anchors_rounded: bool
    """Whether the sides of anchors are whole pixels."""
    anchors_fitted: bool
    """Whether anchors lie as far apart as the input is longer than their level, instead of 4, 8, ... 64 pixels."""
    rpn_foreground_iou: float
    """Anchors from this IoU on are positive."""
    rpn_background_iou: float
    """Anchors under this IoU are negative."""
    rpn_batch_size: int
    """Sampled anchors an image."""
    rpn_positive_fraction: float
    """Of them, at most."""
    rpn_nms_threshold: float
    """IoU over which proposals of a level suppress each other."""
    pre_nms: tuple[int, int]
    """Proposals of a level before NMS, in training and in inference."""
    post_nms: tuple[int, int]
    """Proposals of an image after NMS, in training and in inference."""

    roi_batch_size: int
    """Sampled regions an image."""
    roi_positive_fraction: float
    """Of them, at most."""
    roi_iou_threshold: float
    """Regions from this IoU on are positive."""
    box_cells: int
    """ROIAlign cells a side for the box and occlusion branches."""
    mask_cells: int
    """ROIAlign cells a side for the mask branches."""
    sampling_ratio: int
    """ROIAlign samples a cell and axis; 0: they adapt to the region."""
    aligned: bool
    """ROIAlign's half-pixel correction."""
    box_weights: tuple[float, float, float, float]
    """Of the box coder."""
    occlusion_threshold: float
    """An instance is occluded when its occlusion ratio is over this."""
    occlusion_positive_weight: float
    """Of occluded regions in the loss."""

    score_threshold: float
    """Detections under this score are dropped."""
    nms_threshold: float
    """IoU over which detections of a class suppress each other."""
    max_detections: int
    """Detection slots an image, fewer where so many cannot be."""
    max_detections_per_class: int
    """Most detections of a class in an image."""

    # ----- image to features

    def target_sizes(self, sizes: Int[Array, "B 2"]) -> Int[Array, "B 2"]:
        """(height, width) that images are resized to, by the rule of short and long side alone.

        What of them does not fit the input canvas would be cut off: `amodal_jax.canvas` sees to it that all of it does.
        """

        def one(size):
            return jnp.stack(resized_size((size[0], size[1]), self.short_side, self.long_side))

        return jax.vmap(one)(sizes)

    def features(
        self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"]
    ) -> tuple[Float[Array, "B _ _ C"], ...]:
        """uint8 RGB images to the pyramid P2..P6. Pixels of the input canvas outside the resized image are 0."""

        def prepare(image, size, target):
            resized = resize_to_canvas(image, (size[0], size[1]), (target[0], target[1]), self.input_size)
            channels = resized[..., ::-1] if self.channel_order == "bgr" else resized
            normalised = (channels / 255.0 - jnp.array(self.mean)) / jnp.array(self.std)
            rows = jnp.arange(self.input_size[0])[:, None, None] < target[0]
            columns = jnp.arange(self.input_size[1])[None, :, None] < target[1]
            return jnp.where(rows & columns, normalised, 0.0)

        return self.fpn(self.backbone(jax.vmap(prepare)(images, sizes, self.target_sizes(sizes))))

    # ----- features to proposals

    def anchors(self, levels: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
        """The anchors [A, 4] of each level; only the shapes of `levels` [B, height, width, C] are read."""
        feature_sizes = [(level.shape[1], level.shape[2]) for level in levels]
        strides = [
            (self.input_size[0] // height, self.input_size[1] // width) if self.anchors_fitted else (stride, stride)
            for (height, width), stride in zip(feature_sizes, LEVEL_STRIDES, strict=True)
        ]
        return pyramid_anchors(
            feature_sizes, strides, self.anchor_sizes, self.aspect_ratios, rounded=self.anchors_rounded
        )

    def propose(
        self,
        logits: list[Float[Array, "B _"]],
        deltas: list[Float[Array, "B _ 4"]],
        anchors: tuple[np.ndarray, ...],
        targets: Int[Array, "B 2"],
        *,
        train: bool,
    ) -> Proposals:
        """The proposals of images that fill `targets` (height, width) of the input canvas."""
        phase = 0 if train else 1
        return jax.vmap(
            lambda image_logits, image_deltas, target: select_proposals(
                image_logits,
                image_deltas,
                anchors,
                target[0],
                target[1],
                pre_nms=self.pre_nms[phase],
                post_nms=self.post_nms[phase],
                nms_threshold=self.rpn_nms_threshold,
            )
        )(logits, deltas, targets)

    def pool(
        self, levels: tuple[Float[Array, "B _ _ C"], ...], boxes: Float[Array, "B N 4"], cells: int
    ) -> Float[Array, "BN s s C"]:
        """RoI features of all images' boxes, flattened over images and boxes."""
        pooled = jax.vmap(
            lambda image_levels, image_boxes: multilevel_roi_align(
                image_levels,
                image_boxes,
                cells,
                strides=ROI_STRIDES,
                sampling_ratio=self.sampling_ratio,
                aligned=self.aligned,
            )
        )(levels[: len(ROI_STRIDES)], boxes)
        return pooled.reshape(-1, *pooled.shape[2:])

    # ----- training

    def losses(self, batch: Batch, keys: Key[Array, " B"]) -> dict[str, Mean]:
        """The loss terms of a batch; `keys` [B], one for each image's sampling."""
        levels = self.features(batch.images, batch.sizes)
        rpn_outputs = self.rpn_head(levels)
        anchor_samples, roi_samples = self.sample(levels, rpn_outputs, batch, keys)
        return self.loss_terms(levels, rpn_outputs, batch, anchor_samples, roi_samples)

    def input_truth_boxes(self, batch: Batch) -> Float[Array, "B G 4"]:
        """Ground-truth boxes in pixels of the network's input."""
        ratio = self.target_sizes(batch.sizes) / batch.sizes
        return batch.truth.boxes * ratio[:, None, (1, 0, 1, 0)]

    def sample(
        self,
        levels: tuple[Array, ...],
        rpn_outputs: tuple[list[Array], list[Array]],
        batch: Batch,
        keys: Key[Array, " B"],
    ) -> tuple[AnchorSamples, RoISamples]:
        """The anchors and regions that a step trains on."""
        anchors = self.anchors(levels)
        truth_boxes = self.input_truth_boxes(batch)
        proposals = self.propose(*rpn_outputs, anchors, self.target_sizes(batch.sizes), train=True)
        every_anchor = jnp.concatenate([jnp.asarray(level) for level in anchors])
        # Filler images of a padded batch have no ground truth and would otherwise count as background.
        image_valid = batch.valid[:, None]

        def sample_image(key, image_proposals, boxes, valid, crowd):
            rpn_key, roi_key = jax.random.split(key)
            anchor_samples = sample_anchors(
                rpn_key,
                every_anchor,
                boxes,
                valid,
                crowd,
                foreground_iou=self.rpn_foreground_iou,
                background_iou=self.rpn_background_iou,
                batch_size=self.rpn_batch_size,
                positive_fraction=self.rpn_positive_fraction,
            )
            roi_samples = sample_rois(
                roi_key,
                image_proposals,
                boxes,
                valid,
                crowd,
                iou_threshold=self.roi_iou_threshold,
                batch_size=self.roi_batch_size,
                positive_fraction=self.roi_positive_fraction,
            )
            return anchor_samples, roi_samples

        truth = (truth_boxes, batch.truth.valid, batch.truth.crowd)
        anchor_samples, roi_samples = jax.vmap(sample_image)(keys, proposals, *truth)
        return (
            anchor_samples.replace(valid=anchor_samples.valid & image_valid),
            roi_samples.replace(valid=roi_samples.valid & image_valid),
        )

    def loss_terms(
        self,
        levels: tuple[Float[Array, "B _ _ C"], ...],
        rpn_outputs: tuple[list[Float[Array, "B _"]], list[Float[Array, "B _ 4"]]],
        batch: Batch,
        anchor_samples: AnchorSamples,
        roi_samples: RoISamples,
    ) -> dict[str, Mean]:
        """The loss terms for given samples: two of the RPN, and equation 2's."""
        truth_boxes = self.input_truth_boxes(batch)
        terms = self._rpn_terms(self.anchors(levels), rpn_outputs, truth_boxes, anchor_samples)

        def matched(values):  # ground-truth values [B, G, ...] of the sampled regions, flattened
            index = roi_samples.truth_index.reshape(roi_samples.truth_index.shape + (1,) * (values.ndim - 2))
            return jnp.take_along_axis(values, index, axis=1).reshape(-1, *values.shape[2:])

        positive = (roi_samples.positive & roi_samples.valid).reshape(-1)
        valid = roi_samples.valid.reshape(-1)
        labels = jnp.where(positive, matched(batch.truth.labels) + 1, 0)
        features = self.pool(levels, roi_samples.boxes, self.box_cells)
        box_hidden, box_layers = self.box_head(features)
        logits, deltas = self.box_predictor(box_hidden)
        terms["classification"] = loss.classification(logits, labels, valid)
        class_deltas = jnp.take_along_axis(deltas, labels[:, None, None], axis=1)[:, 0]
        targets = box_ops.encode(matched(truth_boxes), roi_samples.boxes.reshape(-1, 4), weights=self.box_weights)
        terms["box"] = loss.box_regression(class_deltas, targets, positive, valid)

        guidance_layers = [box_layers]
        if self.occlusion_head is not None:
            occlusion_hidden, occlusion_layers = self.occlusion_head(features)
            guidance_layers.append(occlusion_layers)
            occluded = positive & (matched(batch.truth.occlusion_ratio) > self.occlusion_threshold)
            terms["occlusion"] = loss.occlusion(
                self.occlusion_predictor(occlusion_hidden),
                occluded,
                valid,
                positive_weight=self.occlusion_positive_weight,
            )
        terms.update(self._mask_terms(levels, batch.truth, truth_boxes, roi_samples, guidance_layers))
        return terms

    def _rpn_terms(
        self,
        anchors: tuple[np.ndarray, ...],
        rpn_outputs: tuple[list[Array], list[Array]],
        truth_boxes: Float[Array, "B G 4"],
        samples: AnchorSamples,
    ) -> dict[str, Mean]:
        logits = jnp.concatenate(rpn_outputs[0], axis=1)
        deltas = jnp.concatenate(rpn_outputs[1], axis=1)
        sampled_logits = jnp.take_along_axis(logits, samples.indices, axis=1)
        sampled_deltas = jnp.take_along_axis(deltas, samples.indices[..., None], axis=1)
        sampled_anchors = jnp.concatenate([jnp.asarray(level) for level in anchors])[samples.indices]
        targets = box_ops.encode(
            jnp.take_along_axis(truth_boxes, samples.truth_index[..., None], axis=1),
            sampled_anchors,
            weights=RPN_BOX_WEIGHTS,
        )
        positive, valid = samples.positive.reshape(-1), samples.valid.reshape(-1)
        return {
            "rpn_objectness": loss.objectness(sampled_logits.reshape(-1), positive, valid),
            "rpn_box": loss.box_regression(sampled_deltas.reshape(-1, 4), targets.reshape(-1, 4), positive, valid),
        }

    def _mask_terms(
        self,
        levels: tuple[Array, ...],
        truth: GroundTruth,
        truth_boxes: Float[Array, "B G 4"],
        samples: RoISamples,
        guidance_layers: list[list[Float[Array, "BS s s _"]]],
    ) -> dict[str, Mean]:
        """Masks see positive regions only, which lie in the first slots (paper section 4.2)."""
        batch, slots = samples.positive.shape
        count = int(self.roi_batch_size * self.roi_positive_fraction)
        boxes, truth_index = samples.boxes[:, :count], samples.truth_index[:, :count]
        valid = (samples.positive & samples.valid)[:, :count].reshape(-1)
        labels = jnp.take_along_axis(truth.labels, truth_index, axis=1).reshape(-1) + 1
        guidance: list[Array] = []
        if self.guidance_layer is not None:
            for layers in guidance_layers:
                layer = layers[self.guidance_layer]
                first = layer.reshape(batch, slots, *layer.shape[1:])[:, :count]
                guidance.append(first.reshape(batch * count, *layer.shape[1:]))
        heads = {
            "amodal_mask": (self.amodal_mask_head, truth.amodal_crops),
            "inmodal_mask": (self.inmodal_mask_head, truth.inmodal_crops),
        }
        terms = {}
        features = self.pool(levels, boxes, self.mask_cells)
        for name, (head, crops) in heads.items():
            if head is None:
                continue
            logits = head(features, guidance)
            class_logits = jnp.take_along_axis(logits, labels[:, None, None, None], axis=-1)[..., 0]
            targets = jax.vmap(lambda *image: mask_targets(*image, size=2 * self.mask_cells))(
                crops, truth_boxes, boxes, truth_index
            )
            terms[name] = loss.mask(class_logits, targets.reshape(class_logits.shape), valid)
        return terms

    # ----- inference

    def detect(self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"]) -> Detections:
        """The objects of each image; boxes in its own pixels.

        The paper's inference (section 4.3): scores and boxes come from the proposals; what NMS leaves goes through the
        box and occlusion branches again, for the features that guide the masks and for the occlusion decision.
        """
        levels = self.features(images, sizes)
        targets = self.target_sizes(sizes)
        rpn_logits, rpn_deltas = self.rpn_head(levels)
        proposals = self.propose(rpn_logits, rpn_deltas, self.anchors(levels), targets, train=False)
        hidden, _ = self.box_head(self.pool(levels, proposals.boxes, self.box_cells))
        logits, deltas = self.box_predictor(hidden)
        selected = self.select(logits, deltas, proposals, targets)
        occluded, amodal, inmodal = self._second_pass(levels, selected)
        return Detections(
            boxes=selected.boxes * (sizes / targets)[:, None, (1, 0, 1, 0)],
            scores=selected.scores,
            labels=selected.labels,
            valid=selected.valid,
            occluded=occluded,
            amodal_masks=amodal,
            inmodal_masks=inmodal,
        )

    def select(
        self,
        logits: Float[Array, "BN K1"],
        deltas: Float[Array, "BN K1 4"],
        proposals: Proposals,
        targets: Int[Array, "B 2"],
    ) -> SelectedBoxes:
        """The detections among the proposals of images that fill `targets` (height, width) of the input canvas."""
        slots = proposals.valid.shape
        return jax.vmap(
            lambda image_logits, image_deltas, image_proposals, target: select_detections(
                image_logits,
                image_deltas,
                image_proposals,
                target[0],
                target[1],
                box_weights=self.box_weights,
                score_threshold=self.score_threshold,
                nms_threshold=self.nms_threshold,
                max_detections=self.max_detections,
                max_detections_per_class=self.max_detections_per_class,
            )
        )(logits.reshape(*slots, -1), deltas.reshape(*slots, -1, 4), proposals, targets)

    def _second_pass(
        self, levels: tuple[Array, ...], selected: SelectedBoxes
    ) -> tuple[Array | None, Array | None, Array | None]:
        """Occlusion and mask probabilities of the final boxes; None for each branch that the network lacks."""
        box = _pure(self.box_head)
        occlusion, predictor = _pure(self.occlusion_head), _pure(self.occlusion_predictor)
        mask_heads = (_pure(self.amodal_mask_head), _pure(self.inmodal_mask_head))
        if occlusion is None and mask_heads == (None, None):
            return None, None, None

        def block(boxes: Float[Array, "B n 4"], labels: Int[Array, "B n"]):
            occluded = None
            guidance: list[Array] = []
            if occlusion is not None:
                features = self.pool(levels, boxes, self.box_cells)
                hidden, layers = occlusion(features)
                occluded = jax.nn.softmax(predictor(hidden))[:, 1].reshape(labels.shape)
                if self.guidance_layer is not None:
                    box_layers = box(features, self.guidance_layer, method="convolve")
                    guidance = [box_layers[self.guidance_layer], layers[self.guidance_layer]]
            masks: list[Array | None] = [None, None]
            if mask_heads != (None, None):
                features = self.pool(levels, boxes, self.mask_cells)
                for index, head in enumerate(mask_heads):
                    if head is not None:
                        logits = head(features, guidance)
                        of_class = jnp.take_along_axis(logits, labels.reshape(-1, 1, 1, 1) + 1, axis=-1)[..., 0]
                        masks[index] = jax.nn.sigmoid(of_class).reshape(*labels.shape, *of_class.shape[1:])
            return occluded, masks[0], masks[1]

        return _over_valid_blocks(block, selected)


def _pure(module: nn.Module | None) -> Callable[..., Any] | None:
    """A bound module as a pure function, which may be called within a `while_loop`."""
    if module is None:
        return None
    unbound, variables = module.unbind()
    return lambda *args, **kwargs: unbound.apply(variables, *args, **kwargs)


def _over_valid_blocks(
    function: Callable[[Float[Array, "B n 4"], Int[Array, "B n"]], Any], selected: SelectedBoxes
) -> Any:
    """`function` of (boxes, labels) in blocks of MASK_BLOCK slots, as far as any image has valid ones; 0 beyond.

    Detections are best first, so that a loop bound by their number saves the branches of the slots that are empty, most
    of them in a street scene.
    """
    batch, slots = selected.valid.shape
    length = -(-slots // MASK_BLOCK) * MASK_BLOCK
    boxes = jnp.pad(selected.boxes, ((0, 0), (0, length - slots), (0, 0)))
    labels = jnp.pad(selected.labels, ((0, 0), (0, length - slots)))
    count = jnp.max(jnp.sum(selected.valid, axis=1))

    def inputs(start):
        return (
            jax.lax.dynamic_slice_in_dim(boxes, start, MASK_BLOCK, axis=1),
            jax.lax.dynamic_slice_in_dim(labels, start, MASK_BLOCK, axis=1),
        )

    def step(state):
        start, outputs = state
        results = function(*inputs(start))
        outputs = jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=1), outputs, results
        )
        return start + MASK_BLOCK, outputs

    shapes = jax.eval_shape(lambda: function(*inputs(0)))
    empty = jax.tree.map(lambda shape: jnp.zeros((batch, length, *shape.shape[2:]), shape.dtype), shapes)
    _, outputs = jax.lax.while_loop(lambda state: state[0] < count, step, (jnp.int32(0), empty))
    valid: Bool[Array, "B D"] = selected.valid

    def trim(whole):
        return jnp.where(valid.reshape(valid.shape + (1,) * (whole.ndim - 2)), whole[:, :slots], 0)

    return jax.tree.map(trim, outputs)
