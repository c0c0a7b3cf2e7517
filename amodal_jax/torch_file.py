"""Files as `torch.save` writes them, read without PyTorch and without running anything that they hold.

Since PyTorch 1.6 such a file is a zip archive: a pickle `data.pkl`, and beside it the bytes of each storage, which is
the memory that tensors are views of. Before, it was a row of pickles (a magic number, a version, the machine's
properties, the content, the keys of the storages) and after them, storage by storage, its length and its bytes.
"""

import io
import math
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from amodal_jax.plain_pickle import Array, RefusedPickle, StandIn, read_plain_pickle, with_arrays

_ARCHIVE = b"PK\x03\x04"  # how zip archives begin
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def load_torch_file(path: Path, *, most_bytes: int) -> Any:
    """What `torch.save` has written: plain containers, with tensors as arrays where they are values of dicts.

    Tensors that share memory share it here, too, so that the arrays can only be read.

    Args:
      path: the file.
      most_bytes: what its tensors may take together, each counted by itself.

    Raises:
      RefusedPickle: it holds anything but tensors and plain containers, or would take more memory than it may. Nothing
        has been run.
      Exception: it is damaged or no such file; errors are of many kinds.
    """
    tensors = _Tensors(most_bytes)
    with path.open("rb") as file:
        is_archive = file.read(len(_ARCHIVE)) == _ARCHIVE
    # Read whole, as a length that a pickle claims is then no more than a number.
    root = _read_archive(path, tensors, most_bytes) if is_archive else _read_row(io.BytesIO(path.read_bytes()), tensors)
    return with_arrays(root)


def _read_archive(path: Path, tensors: "_Tensors", most_bytes: int) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {PurePosixPath(member.filename): member for member in archive.infolist()}
        if sum(member.file_size for member in archive.infolist()) > most_bytes:
            raise RefusedPickle("it would expand to many times its size")
        folders = [name.parent for name in members if name.name == "data.pkl" and len(name.parts) == 2]
        if len(folders) != 1:
            raise ValueError("the archive is not one of PyTorch's")
        (folder,) = folders
        if folder / "constants.pkl" in members:
            raise RefusedPickle("it is a TorchScript archive, which holds a program")
        root = tensors.read(io.BytesIO(archive.read(members[folder / "data.pkl"])))
        order = folder / "byteorder"
        big_endian = order in members and archive.read(members[order]) == b"big"
        for key, storage in tensors.storages.items():
            storage.fill(archive.read(members[folder / "data" / key]), big_endian=big_endian)
    return root


def _read_row(file: io.BytesIO, tensors: "_Tensors") -> Any:
    if (read_plain_pickle(file), read_plain_pickle(file)) != (_MAGIC_NUMBER, _VERSION):
        raise ValueError("it does not begin as PyTorch's files do")
    read_plain_pickle(file)  # the machine's properties; the bytes are in little-endian order whatever it was
    root = tensors.read(file)
    for key in read_plain_pickle(file):
        storage = tensors.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise ValueError(f"storage {key} has not {storage.count} elements")
        storage.fill(file.read(storage.count * storage.dtype.itemsize))
    return root


class _Storage:
    """The elements that tensors are views of, first without their values."""

    def __init__(self, dtype: np.dtype, count: int):
        self.dtype = dtype
        self.count = count
        self._elements: np.ndarray | None = None
        self._swapped = False

    def fill(self, content: bytes, *, big_endian: bool = False) -> None:
        """Gives the elements their values."""
        if len(content) != self.count * self.dtype.itemsize:
            raise ValueError(f"a storage of {self.count} elements has {len(content)} bytes")
        elements = np.frombuffer(content, self.dtype)
        self._elements = elements.byteswap() if big_endian else elements
        self._swapped = big_endian

    def elements(self, dtype: np.dtype) -> np.ndarray:
        """The values, as another type too; read only."""
        if self._elements is None:
            raise ValueError("a storage is missing")
        if dtype == self.dtype:
            return self._elements
        if self._swapped:
            raise RefusedPickle("it has bytes in an unknown order")
        return self._elements.view(dtype)

    def __setstate__(self, state: Any) -> NoReturn:
        raise RefusedPickle("it has a storage of an unknown kind")


class _Tensor(Array):
    """A view of a storage, which has its values once the storage has."""

    def __init__(
        self, storage: _Storage, dtype: np.dtype, start: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ):
        super().__init__()
        self._storage, self._dtype = storage, dtype
        self._start, self._shape, self._strides = start, shape, strides

    @property
    def content(self) -> np.ndarray:
        """The values; read only."""
        elements = self._storage.elements(self._dtype)[self._start :]
        if 0 in self._shape:
            return np.zeros(self._shape, self._dtype)
        last = sum((side - 1) * stride for side, stride in zip(self._shape, self._strides, strict=True))
        if last >= elements.size:
            raise ValueError(f"a tensor of the shape {self._shape} does not fit in its storage")
        strides = [stride * self._dtype.itemsize for stride in self._strides]
        return np.lib.stride_tricks.as_strided(elements, self._shape, strides, writeable=False)

    def __setstate__(self, state: Any) -> NoReturn:
        raise RefusedPickle("it has a tensor of an unknown kind")


class _Elements(StandIn):
    """A class of storages or a type of numbers, by which tensors say what their elements are."""

    __slots__ = ("dtype",)
    dtype: np.dtype

    def __init__(self, dtype: Any):
        super().__init__(_no_call)
        object.__setattr__(self, "dtype", np.dtype(dtype))


def _no_call(*_: Any) -> NoReturn:
    raise RefusedPickle("it makes a tensor in an unknown way")


class _Tensors:
    """What the pickle of a file refers to."""

    def __init__(self, most_bytes: int):
        self.storages: dict[str, _Storage] = {}
        self._bytes_left = most_bytes
        tensor_class = StandIn(_no_call)
        rebuild_tensor = StandIn(self._rebuild_tensor)

        def rebuild_from_type(rebuild: Any, kind: Any, arguments: Any, state: Any) -> Array:
            if rebuild is not rebuild_tensor or kind is not tensor_class:
                raise RefusedPickle("it has a tensor of a class of its own")
            return rebuild(*arguments)

        self._stand_ins = {
            **_ELEMENTS,
            ("torch", "Size"): StandIn(tuple),
            ("torch", "device"): StandIn(lambda *names: ":".join(map(str, names))),
            ("torch", "Tensor"): tensor_class,
            ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            ("torch._utils", "_rebuild_tensor_v3"): StandIn(self._rebuild_tensor_of_type),
            ("torch._utils", "_rebuild_parameter"): StandIn(_rebuild_parameter),
            ("torch._utils", "_rebuild_parameter_with_state"): StandIn(_rebuild_parameter),
            ("torch._tensor", "_rebuild_from_type_v2"): StandIn(rebuild_from_type),
        }

    def read(self, file: io.BytesIO) -> Any:
        """The next pickle; its tensors have no values before the storages have theirs."""
        return read_plain_pickle(file, self._stand_ins, self._storage)

    def _storage(self, reference: Any) -> _Storage:
        # ("storage", class, key, device, number of elements), in the old format also what it is a part of
        fields = reference if isinstance(reference, tuple) else ()
        if len(fields) not in (5, 6) or fields[0] != "storage" or any(part is not None for part in fields[5:]):
            raise RefusedPickle("it refers to what is no storage of tensors")
        _, kind, key, _, count = fields[:5]
        if not isinstance(kind, _Elements) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise RefusedPickle("it has a storage of an unknown kind")
        storage = self.storages.setdefault(key, _Storage(kind.dtype, count))
        if (storage.dtype, storage.count) != (kind.dtype, count):
            raise RefusedPickle(f"it has two storages {key}")
        return storage

    def _rebuild_tensor(
        self,
        storage: Any,
        start: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any = False,
        hooks: Any = None,
        metadata: Any = None,
    ) -> Array:
        return self._tensor(storage, start, shape, strides, metadata, getattr(storage, "dtype", None))

    def _rebuild_tensor_of_type(
        self,
        storage: Any,
        start: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any,
        hooks: Any,
        kind: Any,
        metadata: Any = None,
    ) -> Array:
        return self._tensor(storage, start, shape, strides, metadata, getattr(kind, "dtype", None))

    def _tensor(self, storage: Any, start: Any, shape: Any, strides: Any, metadata: Any, dtype: Any) -> Array:
        numbers = [start, *shape, *strides] if isinstance(shape, tuple) and isinstance(strides, tuple) else [None]
        if (
            not isinstance(storage, _Storage)
            or not isinstance(dtype, np.dtype)
            or not all(type(number) is int and number >= 0 for number in numbers)
            or len(shape) != len(strides)
            or metadata  # such as that the values are to be negated
        ):
            raise RefusedPickle("it has a tensor of an unknown kind")
        self._bytes_left -= math.prod(shape) * dtype.itemsize
        if self._bytes_left < 0:
            raise RefusedPickle("its tensors would take many times its size")
        return _Tensor(storage, dtype, start, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Array:
    if not isinstance(tensor, Array):
        raise RefusedPickle("it has a parameter without a tensor")
    return tensor


_NUMBERS: dict[str, tuple[str, Any]] = {
    "float64": ("Double", "<f8"),
    "float32": ("Float", "<f4"),
    "float16": ("Half", "<f2"),
    "bfloat16": ("BFloat16", ml_dtypes.bfloat16),
    "int64": ("Long", "<i8"),
    "int32": ("Int", "<i4"),
    "int16": ("Short", "<i2"),
    "int8": ("Char", "i1"),
    "uint8": ("Byte", "u1"),
    "bool": ("Bool", "?"),
    "complex64": ("ComplexFloat", "<c8"),
    "complex128": ("ComplexDouble", "<c16"),
}
"""By the names of PyTorch's types, what the classes of their storages begin with, and NumPy's types."""
_ELEMENTS: dict[tuple[str, str], _Elements] = {
    **{("torch", name): _Elements(dtype) for name, (_, dtype) in _NUMBERS.items()},
    **{
        (module, f"{kind}Storage"): _Elements(dtype)
        for module in ("torch", "torch.cuda")
        for kind, dtype in _NUMBERS.values()
    },
    ("torch.storage", "UntypedStorage"): _Elements("u1"),
    # These have storages of bytes.
    **{("torch", f"uint{8 * size}"): _Elements(f"<u{size}") for size in (2, 4, 8)},
}
