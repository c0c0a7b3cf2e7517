"""Experiments: one module each with `get_config()`, or `VARIANTS`, several named configurations in one file.

The folder `presets` has what another dataset changes in any of them.
"""

import dataclasses
import importlib
import pkgutil

from amodal_jax.config import Config
from amodal_jax.errors import ConfigError, did_you_mean


def config_names() -> list[str]:
    """Every name that `load_config` knows: `module`, or `module/variant`."""
    names = []
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.ispkg:
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        if hasattr(module, "VARIANTS"):
            names += [f"{module_info.name}/{variant}" for variant in module.VARIANTS]
        else:
            names.append(module_info.name)
    return names


def load_config(name: str) -> Config:
    """The configuration called `name`, with that name in it.

    Raises:
      ConfigError: no such configuration; the error lists those that there are.
    """
    known = config_names()
    if name not in known:
        raise ConfigError(f'unknown configuration "{name}": {did_you_mean(name, known)}known are {", ".join(known)}')
    file, _, variant = name.partition("/")
    module = importlib.import_module(f"{__name__}.{file}")
    return module.VARIANTS[variant]() if variant else module.get_config()


def on_resnet101(config: Config, name: str) -> Config:
    """The network of a configuration on a ResNet-101, under another name; all else as it is."""
    backbone = dataclasses.replace(config.model.backbone, depth=101)
    return dataclasses.replace(config, name=name, model=dataclasses.replace(config.model, backbone=backbone))
