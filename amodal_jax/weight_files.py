"""Files of weights from any framework, as arrays by name. None of them can have anything run.

NumPy's `.npz`, `.safetensors`, PyTorch's `.pth` under all its endings, and the `.pkl` of Caffe2 and detectron2.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from amodal_jax.errors import WeightsError, first_line
from amodal_jax.plain_pickle import RefusedPickle, load_plain_pickle
from amodal_jax.torch_file import load_torch_file

# What training programs put a network's weights under; the last is Detectron's.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "blobs")
_MOST_WRAPPERS = 8
_UNUSUAL_EXPANSION = 10  # compressed weights are nearly as long as plain ones
_UNUSUAL_BYTES = 1 << 28


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a file by their names.

    Args:
      path: a file whose ending says what it is: .npz, .safetensors, .pkl, or one of PyTorch's, .pth, .pt, .ckpt, .bin
        and .tar, which are read without it.

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

    Containers that training programs put around the weights are taken off: those of known names ("model",
    "state_dict", "blobs"), and of others the only one that holds arrays.

    Args:
      content: a mapping of names to NumPy arrays, PyTorch tensors or numbers, in a container or not.
      source: what errors call it.

    Returns:
      Floats of every precision as float32; integers and Booleans as they are.

    Raises:
      WeightsError: it is no such mapping, holds no arrays, several containers of them, or an array whose values are
        not all finite; names it.
    """
    for _ in range(_MOST_WRAPPERS):
        inner = _wrapped(content, source) if isinstance(content, Mapping) else None
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
    return {name: _array(value, f"{source}: {name}") for name, value in content.items()}


def _wrapped(content: Mapping, source: str) -> Mapping | None:
    """The container in `content` that holds the weights; None where `content` itself does."""
    for name in _WRAPPERS:
        if isinstance(content.get(name), Mapping):
            return content[name]
    if any(map(_is_array, content.values())):
        return None
    inner = {
        name: value
        for name, value in content.items()
        if isinstance(value, Mapping) and any(map(_is_array, value.values()))
    }
    if len(inner) > 1:
        raise WeightsError(f"{source}: holds arrays in several places ({', '.join(map(str, inner))}); save one alone")
    return next(iter(inner.values()), None)


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "detach")


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


def _most_bytes(path: Path) -> int:
    """What the arrays of a file may take without raising suspicion."""
    return max(_UNUSUAL_BYTES, _UNUSUAL_EXPANSION * path.stat().st_size)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _most_bytes(path):
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
        return load_torch_file(path, most_bytes=_most_bytes(path))
    except RefusedPickle as error:
        raise WeightsError(
            f"{path}: is not read, because {error}; files of weights hold tensors and plain containers alone: save the "
            "network's state_dict"
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
    **dict.fromkeys((".pth", ".pt", ".ckpt", ".bin", ".tar"), _read_torch),  # "x.pth.tar" is no archive of tar
    ".pkl": _read_pickle,
}
