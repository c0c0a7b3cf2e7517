"""FCIS: classes, boxes and masks from the same position-sensitive score maps (Li et al., 2017).

After `msracver/FCIS`, with an RPN's anchors and a schedule as in this paper's other networks, and a second set of maps
for inmodal masks.

Shape shorthand in this module: B images, h x w cells at stride 16, N regions, K1 classes with the background at 0,
S = 21 mask cells a side.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, UInt8

from amodal_jax import losses as loss
from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.branch import Branch
from amodal_jax.models.layers import Conv, OutputConv, normal_001
from amodal_jax.models.mask_targets import MaskKind, MaskTargets
from amodal_jax.models.networks import NetworkConfig
from amodal_jax.models.one_level.candidates import Candidates
from amodal_jax.models.one_level.regions import label_regions
from amodal_jax.models.one_level.trunk import STRIDE, Trunk
from amodal_jax.models.preprocess import Preprocess
from amodal_jax.models.roi_pooling import RoIConfig
from amodal_jax.models.selection import EvaluationConfig
from amodal_jax.ops import boxes as box_ops
from amodal_jax.ops.position_sensitive import position_sensitive_mean, position_sensitive_pool
from amodal_jax.ops.sampling import sample_hardest
from amodal_jax.structures import Batch, Detections, GroundTruth, Proposals, RoISamples

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig

GROUPS = 7
"""Groups of score maps a side of a region."""
CELLS = 21
"""Cells a side of a region's scores and masks."""
PARTS = 2
"""Maps of a class: the likelihoods that a pixel is outside and inside of the object."""
BOX_GROUPS = 2
"""Sets of box deltas; background has one, which nothing reads, as in FCIS' own code, and all objects have the other."""


@dataclasses.dataclass(frozen=True)
class FCISConfig(NetworkConfig):
    """FCIS, which has no branches of convolutions on regions.

    Of `model.roi` it reads `batch_size`, the regions of an image that are trained on, `iou_threshold` and
    `box_weights`, of `model.heads` which masks there are.
    """

    rpn_channels: int = 512
    """Channels of the RPN's hidden convolutions."""
    channels: int = 1024
    """Channels that the score maps are made of."""
    mask_weight: float = 10.0
    """Weight of each kind of masks in the loss."""
    mask_target_threshold: float = 0.4
    """Share of a cell from which on the object covers it in training."""

    def check(self, model: "ModelConfig") -> None:
        """Refuses sizes that are no sizes, and a network without the masks that its classes are read from.

        Raises:
          ConfigError: names the field.
        """
        require(min(self.rpn_channels, self.channels) > 0, "model.network", "channels must be positive")
        require(self.mask_weight > 0, "model.network.mask_weight", "must be positive")
        threshold = self.mask_target_threshold
        require(0 < threshold <= 1, "model.network.mask_target_threshold", "must be within (0, 1]")
        require(model.heads.amodal_mask, "model.heads.amodal_mask", "must be true: FCIS' classes come from its maps")
        require(not model.occlusion.enabled, "model.occlusion.enabled", "must be false: FCIS has no such branch")
        require(not model.mlc.enabled, "model.mlc.enabled", "must be false: FCIS has no branches to guide")

    def build(self, model: "ModelConfig", evaluation: EvaluationConfig) -> "FCIS":
        """The network."""
        kinds: tuple[MaskKind, ...] = ("amodal", "inmodal") if model.heads.inmodal_mask else ("amodal",)
        return FCIS(
            config=self,
            preprocess=Preprocess(model.input),
            trunk=Trunk.of(model, self.rpn_channels),
            score_maps=ScoreMaps(self.channels, model.classes, kinds, model.dtype),
            roi=model.roi,
            evaluation=evaluation,
        )


class ScoreMaps(nn.Module):
    """C5 to position-sensitive maps: `PARTS` of each class for each kind of mask, and box deltas."""

    channels: int
    """Of the features that the maps are made of."""
    classes: int
    """K1."""
    kinds: tuple[MaskKind, ...]
    """Of the masks."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic; the maps are float32."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        class_layers = tuple((f"{kind}_maps", PARTS * GROUPS**2) for kind in self.kinds)
        return (Branch("score_maps", ("backbone",), class_layers=class_layers, late=("box_maps",)),)

    @nn.compact
    def __call__(self, features: Float[Array, "B h w _"]) -> dict[str, Float[Array, "B h w _ 7 7"]]:
        """The maps by kind, those of the class's parts one after the other, and "box"."""
        hidden = nn.relu(Conv(self.channels, 1, dtype=self.dtype, kernel_init=normal_001, name="conv")(features))

        def maps(count: int, name: str) -> Float[Array, "B h w _ 7 7"]:
            layer = OutputConv(count * GROUPS**2, dtype=self.dtype, kernel_init=normal_001, name=f"{name}_maps")
            return layer(hidden).reshape(*hidden.shape[:-1], count, GROUPS, GROUPS)

        of_kinds = {kind: maps(PARTS * self.classes, kind) for kind in self.kinds}
        return of_kinds | {"box": maps(4 * BOX_GROUPS, "box")}


class FCIS(nn.Module):
    """The network: a trunk, score maps, and what is read out of them in regions."""

    config: FCISConfig
    """Its settings."""
    preprocess: Preprocess
    """Images to the network's input."""
    trunk: Trunk
    """Pixels to features and proposals."""
    score_maps: ScoreMaps
    """Features to position-sensitive maps."""
    roi: RoIConfig
    """How regions are chosen, and the box coder."""
    evaluation: EvaluationConfig
    """Which candidates become detections."""

    def setup(self):
        # The trunk's modules are named in the network as if they were its own.
        nn.share_scope(self, self.trunk)

    # ----- what others ask of a network

    @property
    def mask_kinds(self) -> tuple[MaskKind, ...]:
        """The kinds of masks that it predicts, of "amodal" and "inmodal"."""
        return self.score_maps.kinds

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the paths of the parameters begin that are not trained."""
        return self.trunk.frozen

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers, each behind those that its inputs come through."""
        return (*self.trunk.branches, *self.score_maps.branches)

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        masks = ", ".join(f"{kind} mask" for kind in self.mask_kinds)
        return f"{self.trunk.backbone.summary}; FCIS, {masks}"

    # ----- training

    def losses(self, batch: Batch, keys: Key[Array, " B"]) -> dict[str, Mean]:
        """The loss terms of a batch; `keys` [B], one for the anchors that are drawn of each image."""
        inputs = self.preprocess(batch.images, batch.sizes, batch.truth)
        features, scores = self.trunk(inputs)
        rpn = self.trunk.rpn
        proposals = rpn.propose(scores, inputs.sizes, train=True)
        anchors = rpn.sample(scores, inputs.truth, batch.valid, keys)
        regions = label_regions(
            proposals.boxes, proposals.valid, inputs.truth, batch.valid, iou_threshold=self.roi.iou_threshold
        )
        terms = self.region_losses(self.score_maps(features), regions, inputs.truth)
        return rpn.losses(scores, anchors, inputs.truth) | terms

    def region_losses(
        self, maps: dict[str, Float[Array, "B h w _ 7 7"]], regions: RoISamples, truth: GroundTruth
    ) -> dict[str, Mean]:
        """The terms of classes, boxes and masks on the hardest regions (FCIS section 3.2).

        Each is a sum over the kept regions of an image, of which background has neither box nor mask, over their
        number. The hardest are those of the greatest sum of all terms; inmodal masks have no say.
        """
        pooled = {kind: self._pool(maps[kind], regions.boxes) for kind in self.mask_kinds}
        targets = MaskTargets(truth, regions.boxes, regions.truth_index, regions.valid.reshape(-1))
        slots = regions.valid.shape
        labels = jnp.where(regions.positive, targets.labels.reshape(slots), 0)

        def mask_loss(kind: MaskKind) -> Float[Array, "B N"]:
            wanted = targets.masks(kind, CELLS, self.config.mask_target_threshold).reshape(*slots, CELLS, CELLS)
            cells = optax.sigmoid_binary_cross_entropy(mask_logits(pooled[kind], labels), wanted)
            return jnp.where(regions.positive, self.config.mask_weight * jnp.mean(cells, axis=(2, 3)), 0)

        logits = class_logits(pooled["amodal"])
        reference = jnp.take_along_axis(truth.boxes, regions.truth_index[..., None], axis=1)
        differences = loss.smooth_l1(
            self._deltas(maps["box"], regions.boxes),
            box_ops.encode(reference, regions.boxes, weights=self.roi.box_weights),
            beta=1.0,
        )
        terms = {
            "classification": optax.softmax_cross_entropy_with_integer_labels(logits, labels),
            "box": jnp.where(regions.positive, jnp.sum(differences, axis=-1), 0),
            **{f"{kind}_mask": mask_loss(kind) for kind in self.mask_kinds},
        }
        hardness = terms["classification"] + terms["box"] + terms["amodal_mask"]
        kept = jax.vmap(lambda *image: sample_hardest(*image, size=self.roi.batch_size))(hardness, regions.valid)
        count = jnp.sum(kept, dtype=jnp.float32)
        return {name: Mean(jnp.sum(jnp.where(kept, term, 0)), count) for name, term in terms.items()}

    # ----- inference

    def detect(self, images: UInt8[Array, "B H W 3"], sizes: Int[Array, "B 2"]) -> Detections:
        """The objects of each image; boxes in its own pixels.

        The proposals are read out, and once more the boxes that they say they should be; both are candidates as they
        stand (FCIS section 3.2, `tester.py`).
        """
        inputs = self.preprocess(images, sizes)
        features, scores = self.trunk(inputs)
        proposals = self.trunk.rpn.propose(scores, inputs.sizes, train=False)
        maps = self.score_maps(features)
        second = self.refined(maps, proposals, inputs.sizes)
        rounds = [self.candidates(maps, regions) for regions in (proposals, second)]
        return Candidates.joined(rounds).detections(inputs, self.evaluation)

    def refined(
        self, maps: dict[str, Float[Array, "B h w _ 7 7"]], proposals: Proposals, sizes: Int[Array, "B 2"]
    ) -> Proposals:
        """The proposals with the boxes that the box maps give them, within images of `sizes` (height, width)."""
        deltas = self._deltas(maps["box"], proposals.boxes)
        boxes = box_ops.decode(deltas, proposals.boxes, weights=self.roi.box_weights)
        boxes = jax.vmap(lambda of_image, size: box_ops.clip(of_image, size[0], size[1]))(boxes, sizes)
        return dataclasses.replace(proposals, boxes=boxes)

    def candidates(self, maps: dict[str, Float[Array, "B h w _ 7 7"]], regions: Proposals) -> Candidates:
        """The regions with class scores, and with masks of the best class that is not the background."""
        pooled = {kind: self._pool(maps[kind], regions.boxes) for kind in self.mask_kinds}
        logits = class_logits(pooled["amodal"])
        best = jnp.argmax(logits[..., 1:], axis=-1) + 1
        return Candidates(
            boxes=regions.boxes,
            scores=jax.nn.softmax(logits)[..., 1:],
            masks={kind: jax.nn.sigmoid(mask_logits(of_kind, best)) for kind, of_kind in pooled.items()},
            valid=regions.valid,
        )

    def _pool(self, maps: Float[Array, "B h w _ 7 7"], boxes: Float[Array, "B N 4"]) -> Float[Array, "B N 21 21 K1 2"]:
        pool = functools.partial(position_sensitive_pool, cells=CELLS, stride=STRIDE)
        pooled = jax.vmap(lambda of_image, regions: pool(of_image, regions))(maps, boxes)
        return pooled.reshape(*pooled.shape[:-1], -1, PARTS)

    def _deltas(self, maps: Float[Array, "B h w 8 7 7"], boxes: Float[Array, "B N 4"]) -> Float[Array, "B N 4"]:
        of_objects = maps[..., -4:, :, :]
        mean = functools.partial(position_sensitive_mean, cells=CELLS, stride=STRIDE)
        return jax.vmap(lambda of_image, regions: mean(of_image, regions))(of_objects, boxes)


def class_logits(pooled: Float[Array, "B N S S K1 2"]) -> Float[Array, "B N K1"]:
    """Each class's score: the mean over the cells of its likelier part (FCIS section 3.1)."""
    return jnp.mean(jnp.max(pooled, axis=-1), axis=(2, 3))


def mask_logits(pooled: Float[Array, "B N S S K1 2"], labels: Int[Array, "B N"]) -> Float[Array, "B N S S"]:
    """The masks of one class for each region: the softmax of its two parts is the logistic of their difference."""
    differences = pooled[..., 1] - pooled[..., 0]
    return jnp.take_along_axis(differences, labels[:, :, None, None, None], axis=-1)[..., 0]
