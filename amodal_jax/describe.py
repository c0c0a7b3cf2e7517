"""A network's parts with their parameters and the shapes of what they give, without running it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax.build import build_detector, initialise
from amodal_jax.config import Config
from amodal_jax.models.detector import ROI_STRIDES, Detector


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the network."""

    name: str
    parameters: int  # trainable values
    frozen: int  # values of frozen batch norm
    outputs: str  # shapes for one image (RoI branches: for one region)


def describe(config: Config) -> list[Part]:
    """The parts of a configuration's network in the order of the data, then their sum.

    MLC is counted within its mask head and once more by itself, indented. A configuration without class names, which
    takes the dataset's, is described with one class.
    """
    config = with_a_class(config)
    detector = build_detector(config)
    variables = _variables(detector, config)
    outputs = _output_shapes(detector, config, variables)
    parts = []
    for name, text in outputs.items():
        parts.append(Part(name, _size(variables, "params", name), _size(variables, "frozen", name), text))
        mlc = variables["params"].get(name, {}).get("mlc")
        if mlc is not None:
            size = config.model.roi.mask_size
            parts.append(Part("  of it mlc", _count(mlc), 0, f"{size}x{size}x{config.model.heads.channels}"))
    return [*parts, _sum(variables)]


def describe_sum(config: Config) -> Part:
    """The last of what `describe` gives, which takes a part of the time."""
    config = with_a_class(config)
    return _sum(_variables(build_detector(config), config))


def with_a_class(config: Config) -> Config:
    """The configuration, with one class where it names none."""
    names = config.model.class_names or ("class_1",)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=names))


def _variables(detector: Detector, config: Config) -> dict[str, Any]:
    """Their shapes."""
    return jax.eval_shape(lambda: initialise(detector, config, jax.random.key(0)))


def _sum(variables: dict[str, Any]) -> Part:
    return Part("all", _count(variables["params"]), _count(variables.get("frozen", {})), "")


def _count(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def _size(variables: dict[str, Any], collection: str, name: str) -> int:
    return _count(variables.get(collection, {}).get(name, {}))


def _output_shapes(detector: Detector, config: Config, variables: dict[str, Any]) -> dict[str, str]:
    """What each part gives, in the order of the data."""
    canvas = (1, config.data.canvas_height, config.data.canvas_width, 3)

    def levels_and_stages(variables):
        images, sizes = jnp.zeros(canvas, jnp.uint8), jnp.array([canvas[1:3]], jnp.int32)
        levels, state = detector.apply(
            variables,
            images,
            sizes,
            method="features",
            capture_intermediates=lambda module, _: module.name == "backbone",
        )
        return levels, state["intermediates"]["backbone"]["__call__"][0]

    levels, stages = jax.eval_shape(levels_and_stages, variables)
    roi, heads, classes = config.model.roi, config.model.heads, len(config.model.class_names) + 1
    anchors = detector.anchors(levels)
    mask = f"{2 * roi.mask_size}x{2 * roi.mask_size}x{classes}"
    pooled = f"P2..P{len(ROI_STRIDES) + 1}"
    texts = {
        "backbone": _shapes("C", stages),
        "fpn": _shapes("P", levels),
        "rpn_head": f"{sum(len(level) for level in anchors)} anchors, 1 score and 4 deltas each",
        "box_head": f"{roi.box_size}x{roi.box_size} of {pooled} to {heads.fc_channels}",
        "box_predictor": f"{classes} scores, {classes}x4 deltas",
        "occlusion_head": f"{roi.box_size}x{roi.box_size} of {pooled} to {heads.fc_channels}",
        "occlusion_predictor": "2 scores",
        "amodal_mask_head": mask,
        "inmodal_mask_head": mask,
    }
    return {name: text for name, text in texts.items() if name in variables["params"]}


def _shapes(letter: str, maps: Any) -> str:
    return " ".join(
        f"{letter}{level} {'x'.join(map(str, array.shape[1:]))}" for level, array in enumerate(maps, start=2)
    )
