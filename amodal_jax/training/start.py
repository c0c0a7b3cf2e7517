"""What a training can begin with, and what it cannot: checked before anything is written."""

import dataclasses
from pathlib import Path
from typing import Any

from amodal_jax.config import Config
from amodal_jax.config_json import to_values
from amodal_jax.errors import CheckpointError, ConfigError
from amodal_jax.runs.checkpoint_reader import checkpoint_config, last_config
from amodal_jax.runs.directory import read_config
from amodal_jax.weights.transfer import adopt_settings, check_backbone

# What may change between two starts of one run, as no step's result depends on it. `train.steps` is added to these with
# the schedule "step", where it only says when to end.
FREE_FIELDS = (
    "name",
    "data.directory",
    "data.test_split",
    "train.log_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.evaluate_every",
    "evaluation",
)


def config_to_start_from(init: str | Path, config: Config, workdir: Path) -> Config:
    """`config` with what the weights of `init` expect of the network (see `weights.transfer.adopt_settings`).

    Where the run in `workdir` has a checkpoint, that is what it took over when it began, whether or not those weights
    are still there.

    Raises:
      CheckpointError: there is no good checkpoint at `init`, or none of those in `workdir` is.
    """
    begun = last_config(Path(workdir).expanduser())
    return adopt_settings(config, begun or checkpoint_config(init))


def with_absolute_directory(config: Config) -> Config:
    """`config` with a dataset that is found from any folder, as it goes into checkpoints."""
    directory = str(Path(config.data.directory).expanduser().absolute())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, directory=directory))


def with_class_names(config: Config, found: tuple[str, ...]) -> Config:
    """`config` with the dataset's class names, which must be its own if it has any."""
    names = config.model.class_names
    if names and names != found:
        raise ConfigError(
            f"model.class_names is {', '.join(names)}, but the dataset at {config.data.directory} has "
            f"{', '.join(found)}; leave it empty (--model.class-names=) to take the dataset's"
        )
    return dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=found))


def share(batch_size: int, parts: int) -> int:
    """The images of each of so many equal parts of a global batch."""
    if batch_size % parts:
        raise ConfigError(
            f"train.batch_size is {batch_size}, which {parts} devices or processes cannot share evenly; "
            f"choose a multiple of {parts}"
        )
    return batch_size // parts


def check_beginning(config: Config, init: str | Path | None) -> None:
    """Refuses what cannot be begun with, before anything is written."""
    if init is None:
        _check_scratch(config)
        return
    weights_config = checkpoint_config(init)
    try:
        check_backbone(weights_config, config)
    except CheckpointError as error:
        raise CheckpointError(f"{init}: {error}") from error


def _check_scratch(config: Config) -> None:
    """Refuses to draw at random what then stays as it is drawn."""
    backbone = config.model.backbone
    needed = {
        "--model.backbone.norm group_norm": backbone.norm == "frozen_batch_norm",
        "--model.backbone.frozen-stages 0": backbone.frozen_stages > 0,
    }
    missing = [field for field, is_missing in needed.items() if is_missing]
    if missing:
        raise ConfigError(
            f"parts of the backbone are frozen, which is for trained weights: begin with some (--init CHECKPOINT), or "
            f"from scratch with {' '.join(missing)}"
        )


def check_same_run(config: Config, before: Config | None, workdir: Path) -> None:
    """Refuses to go on with a run under a configuration that would have given other steps."""
    if before is None:
        # Nothing to go on from, and any configuration may begin. But what is no run's file must not be replaced by one.
        read_config(workdir)
        return
    free = FREE_FIELDS + (("train.steps",) if config.train.schedule == "step" else ())
    was, now = _flat(to_values(before)), _flat(to_values(config))
    changed = [
        f"{name} was {was[name]} and is now {now[name]}"
        for name in now
        if was[name] != now[name] and not any(name == field or name.startswith(f"{field}.") for field in free)
    ]
    if changed:
        raise ConfigError(
            f"{workdir} holds a run of another configuration: {'; '.join(changed)}. "
            "Choose another --workdir, or the run's own configuration to go on with it"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
