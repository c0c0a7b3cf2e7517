"""Sections of a configuration of which there are several kinds, each with its module in a file of one folder.

The folder's `__init__.py` defines what all kinds share, a subclass of `Kind`; each other file of the folder defines one
subclass of that, which holds the kind's settings and builds its part. Python names the class, JSON and the command line
the file: `--model.mask.kind branches`. Nothing else lists the kinds: a new one is a new file.
"""

import dataclasses
import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, TypeVar

from amodal_jax.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Kind:
    """The settings of one kind of a part."""

    @property
    def kind(self) -> str:
        """The name of the file that defines it."""
        return type(self).__module__.rpartition(".")[2]

    def check(self, model: "ModelConfig") -> None:
        """Refuses what does not fit the other parts of the network.

        Raises:
          ConfigError: names the fields.
        """


K = TypeVar("K", bound=Kind)


def kind_names(base: type[Kind]) -> list[str]:
    """The names of all kinds of a part, from the part's base class, without importing any."""
    folder = importlib.import_module(base.__module__)
    return [module.name for module in pkgutil.iter_modules(folder.__path__)]


def find_kind(base: type[K], name: Any, field: str) -> type[K]:
    """The settings' class of the kind called `name`.

    Args:
      base: the part's base class.
      name: of a file beside it.
      field: what an error calls the section.

    Raises:
      ConfigError: there is no such kind; lists those that there are.
    """
    known = kind_names(base)
    if name not in known:
        raise ConfigError(
            f"{field}.kind {name!r} is unknown: {did_you_mean(str(name), known)}known are {', '.join(known)}"
        )
    module = importlib.import_module(f"{base.__module__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    )
    return found
