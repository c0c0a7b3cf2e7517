"""Other frameworks' weights as our variables: which layout they are in, and the way from there.

A layout (`weights.layouts`) is recognised by the names of the arrays alone. What the weights expect of the network,
from the normalisation of the image to the order of the labels, comes with the layout as a configuration.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amodal_jax.config import Config
from amodal_jax.config_json import override
from amodal_jax.errors import ConfigError, WeightsError
from amodal_jax.network import Variables
from amodal_jax.weights.files import read_weights
from amodal_jax.weights.layouts import detectron2, torchvision
from amodal_jax.weights.layouts.layout import BATCH_NORM_EPSILON, Layout, Sources
from amodal_jax.weights.overridable import OVERRIDABLE

LAYOUTS = (*torchvision.LAYOUTS, *detectron2.LAYOUTS)
_NAMES_IN_ERRORS = 3
_WRAPPER = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What names have of training on several devices, of compilation, and of activations that are computed again."""
_WORD_START = re.compile(r"^|(?<=[^0-9A-Za-z])")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights of another framework, converted."""

    layout: Layout
    """How they were stored."""
    config: Config
    """The network they are of. Without class names it is a backbone alone."""
    variables: Variables
    """Its variables, as NumPy arrays."""
    batch_norm_epsilon: float
    """What was added to the variance of their batch normalisations, which is worked into the scales."""
    unread: tuple[str, ...]
    """Arrays that are of no use here."""
    prefix: str
    """What stood before the layout's own names, such as "model." or nothing."""


def convert_weights(
    weights: Mapping[str, np.ndarray],
    *,
    source: str,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    batch_norm_epsilon: float | None = None,
    layouts: Sequence[Layout] = LAYOUTS,
) -> Pretrained:
    """Recognises the layout of the arrays and makes our variables of them.

    A prefix that all names have besides those of the layout is taken off, and so is what PyTorch's wrappers put into
    names.

    Args:
      weights: the arrays by name, as `amodal_jax.weights.files` gives them. They are copied.
      source: what errors call them.
      num_classes: how many classes they must have, with the background; None for any number.
      class_names: the foreground classes in the order of their labels. By default those of the published weights where
        their number fits, else class_1, class_2 and so on.
      batch_norm_epsilon: what is added to the variance, where it is not what the layout says.
      layouts: those to choose from.

    Raises:
      WeightsError: no layout has these names, an array has another shape than the layout's, or the number of classes
        does not fit; names the arrays.
      ConfigError: class names or an epsilon that cannot be used.
    """
    if batch_norm_epsilon is not None and not 0 <= batch_norm_epsilon < math.inf:
        raise ConfigError(f"the batch norm's epsilon must be a finite number from 0 on, not {batch_norm_epsilon}")
    layout, prefix, weights = _recognise(weights, source, layouts)
    names = _class_names(weights, layout, source, num_classes, class_names)
    sources = layout.sources(len(names))
    _check_shapes(weights, sources, layout, source)
    epsilon = layout.batch_norm_epsilon(weights) if batch_norm_epsilon is None else batch_norm_epsilon
    variables: Variables = {}
    for path, one in sources.items():
        *modules, leaf = path.split("/")
        branch = variables
        for module in modules:
            branch = branch.setdefault(module, {})
        branch[leaf] = np.array(one.make(*(weights[name] for name in one.reads)), np.float32, order="C")
    _work_in_epsilon(variables.get("frozen", {}), epsilon, source)
    try:
        config = layout.configure(layout.config, weights)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=names))
    read = _names(sources)
    unread = tuple(name for name in weights if name not in read)
    return Pretrained(layout, config, variables, epsilon, unread, prefix)


def import_weights(
    path: str | Path,
    directory: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    batch_norm_epsilon: float | None = None,
    overrides: Sequence[str] = (),
) -> Pretrained:
    """Converts a file of weights to a checkpoint, which it names.

    The checkpoint is of step 0 and without an optimiser's state: one to evaluate, to predict with and to initialise a
    training from. A backbone's alone can only do the last.

    Args:
      path: the file, of any kind that `amodal_jax.weights.files.read_weights` takes.
      directory: the run directory to write, which must not be there yet, or be empty.
      class_names: as for `convert_weights`.
      batch_norm_epsilon: as for `convert_weights`.
      overrides: `--section.field value` for what the weights expect otherwise than their layout's published ones, in
        OVERRIDABLE.

    Raises:
      WeightsError: the file cannot be read, as `convert_weights`, or there is something in the directory.
      ConfigError: class names, an epsilon or overrides that cannot be used.
      CheckpointError: the checkpoint cannot be written. Nothing is left of it.
    """
    # Imported here, as Orbax is only needed for this.
    from amodal_jax.runs.checkpoint_writer import write_network

    directory = Path(directory).expanduser().absolute()
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise WeightsError(f"{directory}: is there already; name a folder that is not, or an empty one")
    pretrained = convert_weights(
        read_weights(path), source=str(path), class_names=class_names, batch_norm_epsilon=batch_norm_epsilon
    )
    pretrained = dataclasses.replace(pretrained, config=_overridden(pretrained.config, overrides))
    write_network(directory, pretrained.config, pretrained.variables)
    return pretrained


def _overridden(config: Config, overrides: Sequence[str]) -> Config:
    for argument in overrides:
        name = argument.partition("=")[0].removeprefix("--").replace("-", "_")
        if argument.startswith("--") and name not in OVERRIDABLE:
            raise ConfigError(
                f"{name} cannot be set: the rest is as the weights are. Fields are {', '.join(OVERRIDABLE)}"
            )
    return override(config, list(overrides))


def _names(sources: Sources) -> set[str]:
    return {name for one in sources.values() for name in one.reads}


def _recognise(
    weights: Mapping[str, np.ndarray], source: str, layouts: Sequence[Layout]
) -> tuple[Layout, str, dict[str, np.ndarray]]:
    """The layout whose arrays these are, all of them and no others, the prefix of their names, and them without it."""
    weights = _unwrapped(weights)
    differences = []
    for layout in layouts:
        wanted = _names(layout.sources(1 if layout.class_scores else 0))
        prefix = _prefix(weights, wanted)
        own = re.compile(layout.unread or r"(?!)")
        inside = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        missing = sorted(wanted - inside.keys())
        surplus = [prefix + name for name in inside.keys() - wanted if not own.fullmatch(name)]
        surplus = sorted(surplus + [name for name in weights if not name.startswith(prefix)])
        if not missing and not surplus:
            return layout, prefix, inside
        differences.append((len(missing) + len(surplus), layout, prefix, missing, surplus, len(wanted & inside.keys())))
    _, nearest, prefix, missing, surplus, common = min(differences, key=lambda difference: difference[0])
    known = "; ".join(layout.title for layout in layouts)
    if not common:
        raise WeightsError(f"{source}: none of the arrays is in a known layout: {_some(weights)}. Known are {known}")
    parts = [f"{_some(missing)} missing"] if missing else []
    parts += [f"{_some(surplus)} unknown to it"] if surplus else []
    behind = f" behind the prefix {prefix!r}" if prefix else ""
    raise WeightsError(
        f"{source}: the arrays are of no known layout. The nearest is {nearest.title}{behind}, with "
        f"{' and '.join(parts)}. Known are {known}"
    )


def _unwrapped(weights: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays by their names without what PyTorch's wrappers put into them, where that leaves them apart."""
    renamed = {_WRAPPER.sub("", name): value for name, value in weights.items()}
    return renamed if len(renamed) == len(weights) else weights


def _prefix(found: Iterable[str], wanted: Collection[str]) -> str:
    """What stands before the most of the wanted names, of whole words; the shorter of two that do so equally often."""
    prefixes = Counter(
        name[: start.end()] for name in found for start in _WORD_START.finditer(name) if name[start.end() :] in wanted
    )
    return min(prefixes, key=lambda prefix: (-prefixes[prefix], len(prefix)), default="")


def _some(names: Collection[str]) -> str:
    """The number of the names and the first few of them."""
    first = sorted(names)[:_NAMES_IN_ERRORS] + ["..."] * (len(names) > _NAMES_IN_ERRORS)
    return f"{len(names)} array{'s' if len(names) != 1 else ''} ({', '.join(first)})"


def _class_names(
    weights: Mapping[str, np.ndarray],
    layout: Layout,
    source: str,
    num_classes: int | None,
    class_names: Sequence[str] | None,
) -> tuple[str, ...]:
    """The names of the foreground classes; empty for a backbone."""
    if layout.class_scores is None:
        if num_classes is not None or class_names is not None:
            raise WeightsError(f"{source}: is {layout.title}, a backbone alone, which has no classes of objects")
        return ()
    shape = weights[layout.class_scores].shape
    found = shape[0] if shape else 0
    if found < 2:
        raise WeightsError(
            f"{source}: {layout.class_scores} has the shape {shape}: there must be a row for the background and for "
            "each class"
        )
    if num_classes not in (None, found):
        raise WeightsError(
            f"{source}: has {found} classes with the background ({layout.class_scores}), not {num_classes}"
        )
    if class_names is not None:
        if len(class_names) != found - 1:
            raise WeightsError(
                f"{source}: has {found - 1} classes besides the background ({layout.class_scores}), but "
                f"{len(class_names)} names are given for them"
            )
        return tuple(class_names)
    if len(layout.class_names) == found - 1:
        return layout.class_names
    return tuple(f"class_{number}" for number in range(1, found))


def _check_shapes(weights: Mapping[str, np.ndarray], sources: Sources, layout: Layout, source: str) -> None:
    wrong = [
        f"{name} is {weights[name].shape}, not {shape}"
        for one in sources.values()
        for name, shape in one.reads.items()
        if weights[name].shape != shape
    ]
    if wrong:
        more = f"; and {len(wrong) - _NAMES_IN_ERRORS} more" if len(wrong) > _NAMES_IN_ERRORS else ""
        raise WeightsError(
            f"{source}: has the names of {layout.title}, but other shapes: {'; '.join(wrong[:_NAMES_IN_ERRORS])}{more}"
        )


def _work_in_epsilon(frozen: dict[str, Any], epsilon: float, source: str, path: str = "frozen") -> None:
    """Changes the scales of all frozen batch norms to what they are with our epsilon instead of theirs.

    Raises:
      WeightsError: a variance that no standard deviation can be taken of.
    """
    for name, branch in frozen.items():
        if "var" not in branch:
            _work_in_epsilon(branch, epsilon, source, f"{path}/{name}")
            continue
        variance = branch["var"].astype(np.float64)
        if not (variance + epsilon > 0).all():
            raise WeightsError(
                f"{source}: a variance of {path}/{name} is {variance.min():g}, which is not positive with the epsilon "
                f"{epsilon:g}"
            )
        if epsilon == BATCH_NORM_EPSILON:
            continue  # not a bit of the scale is to change
        branch["scale"] = (branch["scale"] * np.sqrt((variance + BATCH_NORM_EPSILON) / (variance + epsilon))).astype(
            np.float32
        )
