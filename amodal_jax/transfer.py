"""Starting a network from the weights of another one: a detector of other classes, or a backbone.

A layer is a module with parameters of its own, called by its path in the network ("box_head/convolutions/conv1"); a
branch is a run of layers one behind the other.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from amodal_jax.build import Variables
from amodal_jax.config import Config
from amodal_jax.errors import CheckpointError
from amodal_jax.models.layers import FrozenBatchNorm

# What weights expect of the network around them, so that a network that starts from them takes it over. The number of
# ROIAlign's samples is none of it: it is how finely a mean is computed, and what training costs.
BACKBONE_FIELDS = (
    "model.input.mean",
    "model.input.std",
    "model.input.channel_order",
    "model.backbone.stride_in_1x1",
)
DETECTOR_FIELDS = (
    "model.anchors.sizes",
    "model.anchors.aspect_ratios",
    "model.anchors.rounded",
    "model.anchors.fitted_strides",
    "model.rpn.convolutions",
    "model.roi.aligned",
    "model.roi.box_weights",
)
_BACKBONE_ARCHITECTURE = ("model.backbone.depth", "model.backbone.width", "model.backbone.norm")

# The classes that start one of another name, best first: COCO's and Cityscapes' names for KINS', and back. No class
# starts two, because two that start as one have to be told apart first.
SIMILAR_CLASSES: Mapping[str, tuple[str, ...]] = {
    "pedestrian": ("person",),
    # A cyclist is drawn with the bicycle, which is what sets him apart from a pedestrian.
    "cyclist": ("rider", "bicycle"),
    "tram": ("train",),
    # Detectors without vans call them cars or trucks, which start those; buses are shaped like them and left over.
    "van": ("bus",),
    "person": ("pedestrian",),
    "rider": ("cyclist",),
    "bicycle": ("cyclist",),
    "train": ("tram",),
    "bus": ("van",),
}

_MASK_HEADS = ("amodal_mask_head", "inmodal_mask_head")
# Each branch, and the branches whose layers its inputs come through.
_BRANCHES: Mapping[str, tuple[str, ...]] = {
    "backbone": (),
    "fpn": ("backbone",),
    "rpn_head": ("fpn",),
    "box_head": ("fpn",),
    "box_predictor": ("fpn", "box_head"),
    "occlusion_head": ("fpn",),
    "occlusion_predictor": ("fpn", "occlusion_head"),
    **dict.fromkeys(_MASK_HEADS, ("fpn",)),
    **{f"{head}/mlc": ("fpn", "box_head", "occlusion_head") for head in _MASK_HEADS},
}
# Layers with outputs for each class, the background's first: the last ones of their branch, and how many values a class
# has.
_CLASS_LAYERS: Mapping[str, int] = {
    "box_predictor/cls_score": 1,
    "box_predictor/bbox_pred": 4,
    **{f"{head}/mask_fcn_logits": 1 for head in _MASK_HEADS},
}
# Layers that come behind the others of their branch, in this order.
_LATE = ("fc", "fc6", "fc7", "conv5_mask", "cls_logits", "bbox_pred", "mask_fcn_logits")

_Layer = dict[str, np.ndarray]  # its arrays by collection and name, "params/kernel"


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What became of the layers of two networks."""

    taken: dict[str, str]
    """Layers of the new network, and the layer of the old one that each equals."""
    by_class: dict[str, str]
    """Layers of the new network with outputs for each class, and the layer of the old one that has the classes'."""
    classes: dict[str, str]
    """Classes of the new network, and the class of the old one that starts each in `by_class`. Others start anew."""
    new: dict[str, str]
    """Layers of the new network that start anew, and why."""
    left: tuple[str, ...]
    """Layers of the old network that nothing was taken from."""
    settings: dict[str, tuple[Any, Any]]
    """Fields of the configuration that the old weights expect otherwise: what they are, and what is expected."""

    def lines(self) -> list[str]:
        """The same to read: whole branches by their name, single layers where a branch is divided."""
        lines = []
        if self.taken:
            lines.append(f"taken: {_in_brief(_origins(self.taken), self.new)}")
        if self.by_class:
            pairs = ", ".join(new if new == old else f"{new} from {old}" for new, old in self.classes.items())
            lines.append(f"taken by class: {_in_brief(_origins(self.by_class), {})}: {pairs}")
        if self.new:
            lines.append(f"made anew: {_in_brief(self.new, self.taken)}")
        if self.left:
            used = {*self.taken.values(), *self.by_class.values()}
            lines.append(f"left: {_in_brief(dict.fromkeys(self.left, ''), used)}")
        for name, (value, expected) in self.settings.items():
            lines.append(f"{name} is {_text(value)}, though the weights expect {_text(expected)}")
        return lines


def adopt_settings(config: Config, weights_config: Config) -> Config:
    """`config` with what the weights of another network expect of the network around them.

    That is BACKBONE_FIELDS and, where they are of a detector and not of a backbone alone, DETECTOR_FIELDS.
    """
    for name in _expected_fields(weights_config):
        config = _replace(config, name.split("."), _value(weights_config, name))
    return config


def check_backbone(weights_config: Config, config: Config) -> None:
    """Checks that a network has the backbone of other weights, without which there is nothing to take.

    Raises:
      CheckpointError: it has another one; says in what, and the option that would change it.
    """
    for name in _BACKBONE_ARCHITECTURE:
        here, there = _value(config, name), _value(weights_config, name)
        if here != there:
            raise CheckpointError(
                f"the weights are of a network with {name} = {there}, not {here}; choose other weights, or a "
                f"configuration with --{name.replace('_', '-')} {there}"
            )


def transfer(
    weights: Variables, weights_config: Config, variables: Variables, config: Config
) -> tuple[Variables, Transfer]:
    """Starts a network with the layers of another one.

    - Layers of the same name and shapes are taken. Along each branch that ends with the first layer that does not fit:
      those behind it would see something else than what they were trained on. MLC, which joins the mask branches on
      their way, ends nothing.
    - The outputs for each class are taken from the class of the same name, or else from a similar one
      (SIMILAR_CLASSES). Classes without one start anew.
    - Where the other network has one mask branch, it starts both.
    - Where it has no occlusion branch, the convolutions of its box branch start that.
    - A frozen batch norm of the other network's pyramid and branches is worked into the convolution before it where
      this network has none.

    Args:
      weights: the other network's variables.
      weights_config: its configuration; without class names the variables are a backbone's alone.
      variables: this network's first variables.
      config: its configuration.

    Returns:
      The variables to start with, and what became of every layer.

    Raises:
      CheckpointError: see `check_backbone`.
    """
    check_backbone(weights_config, config)
    old, new = _layers(weights), _layers(variables)
    if (weights_config.model.heads.norm, config.model.heads.norm) == ("frozen_batch_norm", "none"):
        old = _work_in_norms(old)
    classes = _similar_classes(config.model.class_names, weights_config.model.class_names)
    taken: dict[str, str] = {}
    by_class: dict[str, str] = {}
    made: dict[str, str] = {}
    ends: dict[str, str] = {}  # branches, and their first layer that starts anew
    started: dict[str, _Layer] = {}
    for branch, inputs in _BRANCHES.items():
        origin = _origin(branch, old)
        theirs = _trunk(origin, old)
        if (branch, origin) == ("occlusion_head", "box_head"):
            theirs = [layer for layer in theirs if "/convolutions/" in layer]
        end = next((ends[one] for one in inputs if one in ends), None)
        for index, layer in enumerate(_trunk(branch, new)):
            source = origin + layer.removeprefix(branch)
            if source not in theirs:
                reason = "not in the weights"
            elif branch.endswith("/mlc") and config.model.mlc != weights_config.model.mlc:
                reason = "of another model.mlc in the weights"
            elif end is not None:
                reason = f"behind {end}"
            elif theirs[index] != source:
                reason = f"behind {theirs[index]} in the weights"
            else:
                reason = _difference(new[layer], old[source])
            if not reason:
                started[layer], taken[layer] = old[source], source
                continue
            started[layer], made[layer] = new[layer], reason
            end = end or layer
        for layer in (layer for layer in _CLASS_LAYERS if layer in new and _branch(layer) == branch):
            source = origin + layer.removeprefix(branch)
            if source not in old:
                reason = "not in the weights"
            elif end is not None:
                reason = f"behind {end}"
            elif not classes:
                reason = "none of the classes in the weights"
            else:
                reason = _difference(new[layer], old[source], but_last=True)
            if not reason:
                names = (config.model.class_names, weights_config.model.class_names)
                started[layer] = _by_class(new[layer], old[source], classes, *names, width=_CLASS_LAYERS[layer])
                by_class[layer] = source
                continue
            started[layer], made[layer] = new[layer], reason
        if end is not None:
            ends[branch] = end
    used = {*taken.values(), *by_class.values()}
    settings = {name: (_value(config, name), _value(weights_config, name)) for name in _expected_fields(weights_config)}
    report = Transfer(
        taken=taken,
        by_class=by_class,
        classes=classes if by_class else {},
        new=made,
        left=tuple(layer for layer in old if layer not in used),
        settings={name: pair for name, pair in settings.items() if pair[0] != pair[1]},
    )
    return _variables(started), report


# ----- layers


def _layers(variables: Variables) -> dict[str, _Layer]:
    layers: dict[str, _Layer] = {}
    for path, array in jax.tree_util.tree_leaves_with_path(variables):
        collection, *modules, name = [key.key for key in path]
        layers.setdefault("/".join(modules), {})[f"{collection}/{name}"] = np.asarray(array)
    return layers


def _variables(layers: dict[str, _Layer]) -> Variables:
    variables: Variables = {}
    for layer, arrays in layers.items():
        for place, array in arrays.items():
            collection, name = place.split("/")
            branch = variables.setdefault(collection, {})
            for module in layer.split("/"):
                branch = branch.setdefault(module, {})
            branch[name] = array
    return variables


def _branch(layer: str) -> str:
    """The branch that a layer is in; that of the longest name, as MLC lies within its mask branch."""
    return max((branch for branch in _BRANCHES if layer.startswith(f"{branch}/")), key=len)


def _trunk(branch: str, layers: Mapping[str, _Layer]) -> list[str]:
    """The layers of a branch from its input on, without those with outputs for each class."""

    def place(layer: str) -> tuple[int, str]:
        name = layer.rpartition("/")[2]
        return (_LATE.index(name) + 1 if name in _LATE else 0, layer)

    return sorted((one for one in layers if _branch(one) == branch and one not in _CLASS_LAYERS), key=place)


def _origin(branch: str, old: Mapping[str, _Layer]) -> str:
    """The branch of the old network that starts a branch of the new one."""
    root, _, rest = branch.partition("/")
    present = {layer.partition("/")[0] for layer in old}
    if root in _MASK_HEADS and root not in present:
        root = next(head for head in _MASK_HEADS if head != root)
    elif root == "occlusion_head" and root not in present:
        root = "box_head"
    return f"{root}/{rest}" if rest else root


def _difference(new: _Layer, old: _Layer, *, but_last: bool = False) -> str:
    """How the arrays of two layers differ in shape, their last sides apart if asked for; empty if they do not."""
    if new.keys() != old.keys():
        return f"has {', '.join(_plain(old))} in the weights and {', '.join(_plain(new))} here"
    for name in sorted(new, reverse=True):  # a kernel before its bias
        here, there = (layer[name].shape[: -1 if but_last else None] for layer in (new, old))
        if here != there:
            return f"{name.partition('/')[2]} is {old[name].shape} in the weights and {new[name].shape} here"
    return ""


def _plain(layer: _Layer) -> list[str]:
    return sorted(name.partition("/")[2] for name in layer)


def _work_in_norms(layers: dict[str, _Layer]) -> dict[str, _Layer]:
    """The layers of a network without its frozen batch norms outside of the backbone, computing the same."""
    worked_in = dict(layers)
    for norm in [name for name in layers if name.endswith("_norm") and not name.startswith("backbone/")]:
        values = {name.partition("/")[2]: array.astype(np.float64) for name, array in worked_in.pop(norm).items()}
        multiplier = values["scale"] / np.sqrt(values["var"] + FrozenBatchNorm.epsilon)
        convolution = norm.removesuffix("_norm")
        worked_in[convolution] = {
            "params/kernel": (layers[convolution]["params/kernel"] * multiplier).astype(np.float32),
            "params/bias": (values["bias"] - values["mean"] * multiplier).astype(np.float32),
        }
    return worked_in


# ----- classes


def _similar_classes(new: tuple[str, ...], old: tuple[str, ...]) -> dict[str, str]:
    """For each new class that has one, the old class that starts it."""
    found = {name: name for name in new if name in old}
    for name in new:
        free = [one for one in SIMILAR_CLASSES.get(name, ()) if one in old and one not in found.values()]
        if name not in found and free:
            found[name] = free[0]
    return {name: found[name] for name in new if name in found}


def _by_class(
    new: _Layer,
    old: _Layer,
    classes: dict[str, str],
    new_names: tuple[str, ...],
    old_names: tuple[str, ...],
    *,
    width: int,
) -> _Layer:
    """A layer with the old outputs, each `width` values, of the background and of the classes that are to have them."""
    places = [0, *(1 + new_names.index(name) for name in classes)]
    origins = [0, *(1 + old_names.index(name) for name in classes.values())]
    mapped = {}
    for name, array in new.items():
        outputs = array.reshape(*array.shape[:-1], -1, width).copy()
        outputs[..., places, :] = old[name].reshape(*array.shape[:-1], -1, width)[..., origins, :]
        mapped[name] = outputs.reshape(array.shape)
    return mapped


# ----- settings


def _expected_fields(weights_config: Config) -> tuple[str, ...]:
    return BACKBONE_FIELDS + (DETECTOR_FIELDS if weights_config.model.class_names else ())


def _value(config: Config, name: str) -> Any:
    value: Any = config
    for field in name.split("."):
        value = getattr(value, field)
    return value


def _replace(section: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return dataclasses.replace(section, **{name: _replace(getattr(section, name), rest, value) if rest else value})


# ----- text


def _origins(taken: Mapping[str, str]) -> dict[str, str]:
    """For each layer the branch that it is taken from, where it is another one."""
    branches = {layer: (_branch(layer), _branch(old)) for layer, old in taken.items()}
    return {layer: "" if here == there else f"from {there}" for layer, (here, there) in branches.items()}


def _in_brief(notes: Mapping[str, str], others: Collection[str]) -> str:
    """Layers with a note each, branches of which none is among the `others` of their network by their name alone."""
    divided = {_branch(layer) for layer in others if layer not in _CLASS_LAYERS}
    named: dict[str, str] = {}
    for layer, note in notes.items():
        branch = _branch(layer)
        whole = branch not in divided and layer not in _CLASS_LAYERS
        named.setdefault(branch if whole else layer, note)
    return ", ".join(f"{name} ({note})" if note else name for name, note in named.items())


def _text(value: Any) -> str:
    """As a command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
