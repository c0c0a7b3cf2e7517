"""Weights drawn from their torch name and shape, so that golden files store a network's outputs and no weights."""

import zlib

import numpy as np


def seeded_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value of the torch parameter or buffer `name`, in torch's layout; convolutions keep the variance."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1:
        centre = 0.7 if name.endswith("weight") else 0.0
        return (centre + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
