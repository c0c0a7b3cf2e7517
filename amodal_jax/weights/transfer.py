"""Starting a network from the weights of another one: a detector of other classes, or a backbone.

A layer is a module with parameters of its own, called by its path in the network ("box_head/convolutions/conv1"); a
branch is a run of layers one behind the other (`amodal_jax.models.branch`). A network names its branches, and the
sections of its configuration name the fields that weights expect of the network around them.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from amodal_jax.classes import SIMILAR_CLASSES
from amodal_jax.config import Config, ModelConfig
from amodal_jax.errors import CheckpointError
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.convolutions import without_level
from amodal_jax.models.layers import FrozenBatchNorm
from amodal_jax.network import Variables, build_network

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

    branches: tuple["_Branches", "_Branches"]
    """Of the new and of the old network."""

    def as_dict(self) -> dict[str, Any]:
        """What became of the layers, for a file."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[:-1]}

    def lines(self) -> list[str]:
        """The same to read: whole branches by their name, single layers where a branch is divided."""
        lines = []
        ours, theirs = self.branches
        if self.taken:
            lines.append(f"taken: {ours.in_brief(self._origins(self.taken), self.new)}")
        if self.by_class:
            pairs = ", ".join(new if new == old else f"{new} from {old}" for new, old in self.classes.items())
            lines.append(f"taken by class: {ours.in_brief(self._origins(self.by_class), {})}: {pairs}")
        if self.new:
            lines.append(f"made anew: {ours.in_brief(self.new, self.taken)}")
        if self.left:
            used = {*self.taken.values(), *self.by_class.values()}
            lines.append(f"left: {theirs.in_brief(dict.fromkeys(self.left, ''), used)}")
        for name, (value, expected) in self.settings.items():
            lines.append(f"{name} is {_text(value)}, though the weights expect {_text(expected)}")
        return lines

    def _origins(self, taken: Mapping[str, str]) -> dict[str, str]:
        """For each layer the branch that it is taken from, where it is another one."""
        ours, theirs = self.branches
        pairs = {layer: (ours.of(layer).name, theirs.of(old).name) for layer, old in taken.items()}
        return {layer: "" if here == there else f"from {there}" for layer, (here, there) in pairs.items()}


def adopt_settings(config: Config, weights_config: Config) -> Config:
    """`config` with what the weights of another network expect of the network around them.

    That is, the fields that the sections of the network name in `expected_by_weights`; of the image and the backbone
    alone where the weights are a backbone's.
    """
    for name in _expected_fields(weights_config):
        config = _replace(config, name.split("."), _value(weights_config, name))
    return config


def check_backbone(weights_config: Config, config: Config) -> None:
    """Checks that a network has the backbone of other weights, without which there is nothing to take.

    Raises:
      CheckpointError: it has another one; says in what, and the option that would change it.
    """
    for name in (f"model.backbone.{field}" for field in config.model.backbone.of_the_weights):
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
    - Where a branch has a first layer for each level and the other network has one for all, that starts each. PANet's
      bottom-up path and its fusion, as MLC, end nothing.
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
    theirs, ours = _Branches(weights_config, old), _Branches(config, new)
    classes = _similar_classes(config.model.class_names, weights_config.model.class_names)
    taken: dict[str, str] = {}
    by_class: dict[str, str] = {}
    made: dict[str, str] = {}
    ends: dict[str, str] = {}  # branches, and their first layer that starts anew
    started: dict[str, _Layer] = {}
    for branch in ours.branches:
        origin = theirs.origin_of(branch)
        their_trunk = theirs.trunk(origin)
        if origin != branch.name and branch.stand_in_layers:
            their_trunk = [one for one in their_trunk if one.startswith(f"{origin}/{branch.stand_in_layers}")]
        end = next((ends[one] for one in branch.inputs if one in ends), None)
        passed = set()  # layers of the other branch up to the present one
        for layer in ours.trunk(branch.name):
            source = origin + layer.removeprefix(branch.name)
            source = source if source in their_trunk else without_level(source)
            before = [one for one in their_trunk[: _place(source, their_trunk)] if one not in passed]
            passed.add(source)
            if source not in their_trunk:
                reason = "not in the weights"
            elif branch.same_settings and _value(config, branch.same_settings) != _value(
                weights_config, branch.same_settings
            ):
                reason = f"of another {branch.same_settings} in the weights"
            elif end is not None:
                reason = f"behind {end}"
            elif before:
                reason = f"behind {before[0]} in the weights"
            else:
                reason = _difference(new[layer], old[source])
            if not reason:
                started[layer], taken[layer] = old[source], source
                continue
            started[layer], made[layer] = new[layer], reason
            end = end or layer
        for layer, width in ours.class_layers(branch):
            source = origin + layer.removeprefix(branch.name)
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
                started[layer] = _by_class(new[layer], old[source], classes, *names, width=width)
                by_class[layer] = source
                continue
            started[layer], made[layer] = new[layer], reason
        if end is not None:
            ends[branch.name] = end
    used = {*taken.values(), *by_class.values()}
    settings = {name: (_value(config, name), _value(weights_config, name)) for name in _expected_fields(weights_config)}
    report = Transfer(
        taken=taken,
        by_class=by_class,
        classes=classes if by_class else {},
        new=made,
        left=tuple(layer for layer in old if layer not in used),
        branches=(ours, theirs),
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


def _place(name: str, names: list[str]) -> int:
    return names.index(name) if name in names else 0


class _Branches:
    """The branches of a network and the layers in them."""

    def __init__(self, config: Config, layers: Mapping[str, _Layer]):
        # Without class names the variables are a backbone's alone.
        self.branches = build_network(config).branches if config.model.class_names else (Branch("backbone"),)
        self._layers = layers

    def of(self, layer: str) -> Branch:
        """The branch that a layer is in; that of the longest name, as MLC lies within its mask branch."""
        return max((one for one in self.branches if layer.startswith(f"{one.name}/")), key=lambda one: len(one.name))

    def class_layers(self, branch: Branch) -> Iterator[tuple[str, int]]:
        """The layers of a branch with outputs for each class, and how many values a class has."""
        return ((f"{branch.name}/{name}", width) for name, width in branch.class_layers)

    def is_by_class(self, layer: str) -> bool:
        """Whether a layer has outputs for each class."""
        return any(layer == name for name, _ in self.class_layers(self.of(layer)))

    def trunk(self, name: str) -> list[str]:
        """The layers of the branch of that name from its input on, without those with outputs for each class."""

        def place(layer: str) -> tuple[int, str]:
            last, late = layer.rpartition("/")[2], self.of(layer).late
            return (late.index(last) + 1 if last in late else 0, layer)

        return sorted(
            (one for one in self._layers if self.of(one).name == name and not self.is_by_class(one)), key=place
        )

    def origin_of(self, branch: Branch) -> str:
        """The branch of this network that starts one of another network."""
        names = {one.name for one in self.branches}
        if branch.name in names or branch.stand_in not in names:
            return branch.name
        return branch.stand_in

    def in_brief(self, notes: Mapping[str, str], others: Collection[str]) -> str:
        """Layers with a note each; branches of which none is among the `others` by their name alone."""
        divided = {self.of(layer).name for layer in others if not self.is_by_class(layer)}
        named: dict[str, str] = {}
        for layer, note in notes.items():
            branch = self.of(layer).name
            whole = branch not in divided and not self.is_by_class(layer)
            named.setdefault(branch if whole else layer, note)
        return ", ".join(f"{name} ({note})" if note else name for name, note in named.items())


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


def _expected_fields(weights_config: Config) -> Iterator[str]:
    """The fields that weights expect of the network around them: of a backbone's those of the image and the backbone.

    The number of ROIAlign's samples is none of them: it is how finely a mean is computed, and what training costs.
    """
    of_backbone = ("input", "backbone")
    for section in dataclasses.fields(ModelConfig):
        if weights_config.model.class_names or section.name in of_backbone:
            fields = getattr(getattr(weights_config.model, section.name), "expected_by_weights", ())
            yield from (f"model.{section.name}.{name}" for name in fields)


def _value(config: Config, name: str) -> Any:
    value: Any = config
    for field in name.split("."):
        value = getattr(value, field)
    return value


def _replace(section: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return dataclasses.replace(section, **{name: _replace(getattr(section, name), rest, value) if rest else value})


# ----- text


def _text(value: Any) -> str:
    """As a command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
