"""Features of regions: ROIAlign on the level that suits each, or on all of them.

Shape shorthand in this module: B images, N regions, C channels, s cells a side. Boxes are in pixels of the network's
input.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array, Float

from amodal_jax.errors import require
from amodal_jax.ops.roi_align import multilevel_roi_aligns, roi_align

RegionFeatures = tuple[Float[Array, "_ _ _ _"], ...]
"""Features [BN, s, s, C] of the same regions: one map, or one of each level."""


@dataclasses.dataclass(frozen=True)
class RoIConfig:
    """Sampling and pooling of regions of interest."""

    batch_size: int = 512
    """Sampled regions of an image."""
    positive_fraction: float = 0.25
    """The largest share of positive ones among the sampled regions."""
    iou_threshold: float = 0.5
    """Regions from this IoU with an object on are positive, the others background."""
    box_size: int = 7
    """ROIAlign cells a side for the box and occlusion branches."""
    mask_size: int = 14
    """ROIAlign cells a side for the mask branches; masks come out at twice that."""
    pooling: Literal["by_size", "adaptive"] = "by_size"
    """Whether a region is pooled from the level that suits its size, or from all levels: PANet's adaptive feature
    pooling, where a branch has a first layer for each level."""
    sampling_ratio: int = 2
    """ROIAlign samples a cell and axis; 0: they adapt to the region, as detectron2's do."""
    aligned: bool = False
    """ROIAlign's half-pixel correction; torchvision's weights expect none, detectron2's do."""
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """Weights of the box coder."""

    expected_by_weights: ClassVar[tuple[str, ...]] = ("aligned", "box_weights")

    def __post_init__(self):
        for name in ("batch_size", "box_size", "mask_size"):
            require(getattr(self, name) > 0, f"model.roi.{name}", "must be positive")
        require(self.sampling_ratio >= 0, "model.roi.sampling_ratio", "must not be negative")
        require(0 < self.positive_fraction <= 1, "model.roi.positive_fraction", "must be within (0, 1]")
        require(self.positive_slots > 0, "model.roi.batch_size", "leaves no positive RoI")
        require(0 < self.iou_threshold <= 1, "model.roi.iou_threshold", "must be within (0, 1]")
        require(len(self.box_weights) == 4, "model.roi.box_weights", "must have four values")

    @property
    def positive_slots(self) -> int:
        """The most positive regions of an image."""
        return int(self.batch_size * self.positive_fraction)


@dataclasses.dataclass(frozen=True)
class RoIPooling:
    """Pools regions from the levels as `RoIConfig.pooling` says."""

    config: RoIConfig
    strides: tuple[int, ...]
    """Input pixels a cell of each level that regions are pooled from, the finest first."""

    def __call__(
        self, levels: Sequence[Float[Array, "B _ _ C"]], boxes: Float[Array, "B N 4"], cells: int
    ) -> RegionFeatures:
        """RoI features of all images' boxes, `cells` a side, flattened over images and boxes.

        One map from the level that suits each region's size (FPN, equation 1), or one map from each level.
        """
        return self.together(levels, ((boxes, cells),))[0]

    def together(
        self, levels: Sequence[Float[Array, "B _ _ C"]], regions: Sequence[tuple[Float[Array, "B _ 4"], int]]
    ) -> tuple[RegionFeatures, ...]:
        """The RoI features of several sets of boxes, each with its cells a side: one gradient for all of them."""
        config = self.config
        form: dict[str, Any] = {"sampling_ratio": config.sampling_ratio, "aligned": config.aligned}
        levels = tuple(levels)[: len(self.strides)]
        boxes, cells = zip(*regions, strict=True)
        if config.pooling == "by_size":

            def suiting(levels: tuple[Array, ...], *boxes: Array) -> tuple[Array, ...]:
                return multilevel_roi_aligns(
                    levels, tuple(zip(boxes, cells, strict=True)), strides=self.strides, **form
                )

            return tuple((_flat(pooled),) for pooled in jax.vmap(suiting)(levels, *boxes))

        def of_level(level: Float[Array, "B _ _ C"], stride: int, boxes: Float[Array, "B N 4"], cells: int) -> Array:
            def align(level: Array, boxes: Array) -> Array:
                return roi_align(level, boxes, cells, spatial_scale=1 / stride, **form)

            return _flat(jax.vmap(align)(level, boxes))

        return tuple(
            tuple(of_level(level, stride, each, side) for level, stride in zip(levels, self.strides, strict=True))
            for each, side in zip(boxes, cells, strict=True)
        )


def _flat(pooled: Float[Array, "B N s s C"]) -> Float[Array, "BN s s C"]:
    return pooled.reshape(-1, *pooled.shape[2:])
