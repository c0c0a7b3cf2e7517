"""Amodal instance segmentation in JAX: train, evaluate and run the Amodal Segmentation Network on KINS."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amodal_jax import ops as ops
    from amodal_jax.predict import Predictor as Predictor
    from amodal_jax.structures import Instances as Instances

__version__ = "0.1.0"

__all__ = ["Instances", "Predictor", "__version__", "ops"]


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first asked for: reading a version or a dataset needs no network."""
    if name == "ops":
        return importlib.import_module("amodal_jax.ops")
    if name == "Predictor":
        from amodal_jax.predict import Predictor

        return Predictor
    if name == "Instances":
        from amodal_jax.structures import Instances

        return Instances
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
