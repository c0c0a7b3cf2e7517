"""Files of weights from any framework, as arrays by name. None of them can have anything run.

NumPy's `.npz`, `.safetensors`, PyTorch's `.pth` and `.pt`, and the `.pkl` of Caffe2 and detectron2.
"""

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from amodal_jax.errors import WeightsError, first_line
from amodal_jax.weights.plain_pickle import RefusedPickle, load_plain_pickle

# What training programs put a network's weights under; the last is Detectron's.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "blobs")
_PARALLEL_PREFIX = "module."  # of every name, where PyTorch trained on several devices
_UNUSUAL_EXPANSION = 10  # compressed weights are nearly as long as plain ones
_UNUSUAL_BYTES = 1 << 28
_REFUSED_BY_TORCH = re.compile(r"[Uu]nsupported .*|TorchScript archives?")


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a file by their names.

    Args:
      path: a file whose ending says what it is: .npz, .safetensors, .pth, .pt or .pkl. PyTorch is needed for .pth and
        .pt only.

    Returns:
      What `plain_weights` makes of it.

    Raises:
      WeightsError: the file is missing, truncated, of another kind, or holds anything but arrays and plain containers;
        or what `plain_weights` says of it. Nothing in the file has been run.
    """
    path = Path(path).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        ending = f'the ending "{path.suffix}"' if path.suffix else "no ending"
        raise WeightsError(f"{path}: has {ending}; files of weights end with {', '.join(_READERS)}")
    try:
        path.open("rb").close()
    except OSError as error:  # which not every reader would tell from damage
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        content = reader(path)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # the readers have errors of many kinds for a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as {path.suffix} ({reason}): it is damaged, cut off or of another kind; "
            "copy or download it again"
        ) from error
    return plain_weights(content, source=str(path))


def plain_weights(content: Any, *, source: str) -> dict[str, np.ndarray]:
    """The arrays by name in what a file or a program holds.

    Containers that training programs put around the weights ("model", "state_dict", "blobs") are taken off, and so is
    the prefix "module." of networks that PyTorch trained on several devices.

    Args:
      content: a mapping of names to NumPy arrays, PyTorch tensors or numbers, in a container or not.
      source: what errors call it.

    Returns:
      Floats of every precision as float32; integers and Booleans as they are.

    Raises:
      WeightsError: it is no such mapping, holds no arrays, or one whose values are not all finite; names it.
    """
    while isinstance(content, Mapping):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise WeightsError(f"{source}: holds a {type(content).__name__}, not arrays by name")
    if not content:
        raise WeightsError(f"{source}: holds no arrays")
    for name in content:
        if not isinstance(name, str):
            raise WeightsError(f"{source}: an array is called {name!r}, which is no name")
    prefix = _PARALLEL_PREFIX if all(name.startswith(_PARALLEL_PREFIX) for name in content) else ""
    return {name.removeprefix(prefix): _array(value, f"{source}: {name}") for name, value in content.items()}


def _array(value: Any, name: str) -> np.ndarray:
    if hasattr(value, "detach"):  # a PyTorch tensor, which is recognised without PyTorch
        try:
            value = value.detach().cpu()
            value = (value.float() if value.is_floating_point() else value).numpy()
        except (NotImplementedError, RuntimeError, TypeError) as error:
            raise WeightsError(
                f"{name} is a sparse, quantised or otherwise unusual tensor ({first_line(error)}); save plain ones"
            ) from error
    if not hasattr(value, "__array__") and not isinstance(value, bool | int | float):
        raise WeightsError(f"{name} is a {type(value).__name__}, not an array")
    array = np.asarray(value)
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise WeightsError(f"{name} has values that are not finite in single precision")
    elif array.dtype.kind not in "iub":
        raise WeightsError(f"{name} is of the type {array.dtype}, which is none of real numbers")
    return array


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > max(_UNUSUAL_BYTES, _UNUSUAL_EXPANSION * path.stat().st_size):
        raise WeightsError(
            f"{path}: would expand from {path.stat().st_size} to {size} bytes, which weights do not; it is not read"
        )
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with safetensors.safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def _read_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading {path.suffix} needs PyTorch, which is not installed: install it (pip install torch), or "
            "save the weights as .safetensors where it is (safetensors.torch.save_file(state_dict, path))"
        ) from error
    import pickle

    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        # What it does not admit is all that is passed on: the text explains how to read the file all the same.
        refused = _REFUSED_BY_TORCH.search(str(error))
        if refused is None and isinstance(error, RuntimeError):
            raise
        reason = f" ({refused[0].partition(' Please')[0].rstrip('.')})" if refused else ""
        raise WeightsError(
            f"{path}: holds more than tensors and plain containers, or is damaged, and is not read{reason}; "
            "save its state_dict alone, or copy it again"
        ) from error


def _read_pickle(path: Path) -> Any:
    content = path.read_bytes()
    if content.startswith(b"PK"):
        raise WeightsError(f"{path}: is an archive, as PyTorch and NumPy write them: rename it to .pth or .npz")
    try:
        return load_plain_pickle(content)
    except RefusedPickle as error:
        raise WeightsError(
            f"{path}: is not read, because {error}; files of weights hold arrays and plain containers alone"
        ) from error


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".pkl": _read_pickle,
}
