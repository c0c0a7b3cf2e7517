"""Pickles of arrays and plain containers, read without running anything that they hold.

A pickle is a program for a stack machine that may have any importable object called with any arguments. Here every name
that a pickle asks for is looked up in a table of stand-ins of our own; nothing is imported for it, so that there is
nothing else to call. The stand-ins take from the pickle what makes up an array of numbers: a type, a shape and bytes.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")  # names of NumPy types: Booleans, integers and floats
_BYTE_ORDERS = ("<", ">", "=", "|")


class RefusedPickle(Exception):
    """A pickle that asks for more than arrays of numbers and plain containers; says for what."""


def load_plain_pickle(content: bytes) -> Any:
    """What a pickle holds: plain containers, strings, bytes, numbers, None, and NumPy arrays as values of dicts.

    Pickles of every protocol are read, those of Python 2 included, whose strings are decoded as Latin-1. An
    `OrderedDict` or `Counter` comes as a dict, a NumPy scalar as a number.

    Raises:
      RefusedPickle: it asks for anything else, or for memory beyond its own size. Nothing has been run.
      Exception: it is truncated or no pickle; `pickle.Unpickler` raises errors of many kinds.
    """
    return with_arrays(read_plain_pickle(io.BytesIO(content)))


def read_plain_pickle(
    file: io.BytesIO,
    stand_ins: Mapping[tuple[str, str], Any] | None = None,
    outside: Callable[[Any], Any] | None = None,
) -> Any:
    """The next pickle of a file, in which arrays may still be of the class `Array`, for `with_arrays`.

    Args:
      file: at the pickle's beginning; afterwards it is at its end.
      stand_ins: for names by module and name, besides those of NumPy's arrays and plain containers.
      outside: gives what the pickle refers to outside of itself.

    Raises:
      RefusedPickle, Exception: as `load_plain_pickle`.
    """
    start = file.tell()
    _check_memo(file)
    file.seek(start)
    return _PlainUnpickler(file, stand_ins or {}, outside).load()


def _check_memo(file: io.BytesIO) -> None:
    """Refuses a pickle that numbers its objects beyond their count: the unpickler makes a table of that length."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > count:
            raise RefusedPickle(f"it numbers an object {argument} where there are {count} at most")


class _PlainUnpickler(pickle.Unpickler):
    """Finds stand-ins only."""

    def __init__(
        self, file: io.BytesIO, stand_ins: Mapping[tuple[str, str], Any], outside: Callable[[Any], Any] | None
    ):
        super().__init__(file, fix_imports=False, encoding="latin1")
        self._stand_ins = _STAND_INS | dict(stand_ins)
        self._outside = outside

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._stand_ins[module, name]
        except KeyError:
            raise RefusedPickle(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        if self._outside is None:
            raise RefusedPickle("it refers to objects outside of it")
        return self._outside(pid)


class StandIn:
    """What a pickle gets for a name: it can be called, and in no way changed."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]):
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._call(*arguments)
        except TypeError as error:
            raise RefusedPickle(f"it makes an array in an unknown way ({error})") from error

    def __setattr__(self, name: str, value: Any) -> None:
        raise RefusedPickle("it changes what it has no business with")

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickle("it changes what it has no business with")


class _Type:
    """The type of an array's numbers, first without its byte order."""

    def __init__(self, name: str):
        self._name = name
        self._byte_order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, then what only structured types have)
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in _BYTE_ORDERS:
            raise RefusedPickle("it has a type of an unknown kind")
        self._byte_order = state[1]

    def array(self, content: Any, shape: Any, order: str) -> np.ndarray:
        """The array whose numbers are the bytes `content`, which must be as many as the shape takes."""
        data = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(data, bytes | bytearray):
            raise RefusedPickle("it has an array that is not of plain numbers")
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise RefusedPickle("it has an array without a shape")
        dtype = np.dtype(self._byte_order + self._name)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise RefusedPickle(f"it has {len(data)} bytes for an array of shape {shape} and type {dtype}")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")
        return array.astype(dtype.newbyteorder("="))  # a copy, so that it can be written to


class Array:
    """An array that may have yet to be told its content."""

    def __init__(self, content: np.ndarray | None = None):
        self._content = content

    @property
    def content(self) -> np.ndarray | None:
        """The array."""
        return self._content

    def __setstate__(self, state: Any) -> None:
        # (version, shape, type, whether in Fortran's order, bytes), without the version in the oldest files
        fields = state[-4:] if isinstance(state, tuple) else ()
        if len(fields) != 4 or not isinstance(fields[1], _Type):
            raise RefusedPickle("it has an array of an unknown kind")
        shape, dtype, fortran, content = fields
        self._content = dtype.array(content, shape, "F" if fortran else "C")


def _make_type(name: Any, *_: Any) -> _Type:
    if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
        raise RefusedPickle(f"it has an array of the type {name!r}, which is none of numbers")
    return _Type(name)


def _reconstruct(kind: Any, shape: Any, type_code: Any) -> Array:
    """NumPy's pickles make an array without content first; its shape and type are those of the content."""
    if kind is not _NDARRAY:
        raise RefusedPickle("it has an array of a class of its own")
    return Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """NumPy's pickles of protocol 5 make an array at once."""
    if not isinstance(dtype, _Type) or order not in ("C", "F"):
        raise RefusedPickle("it has an array of an unknown kind")
    return Array(dtype.array(content, shape, order))


def _scalar(dtype: Any, content: Any) -> bool | int | float:
    if not isinstance(dtype, _Type):
        raise RefusedPickle("it has a number of an unknown kind")
    return dtype.array(content, (), "C").item()


def _encode(text: Any, encoding: Any) -> bytes:
    """Python 3 writes bytes so in the protocols of Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickle("it has bytes of an unknown kind")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """The same for no bytes at all; with a number as argument `bytes` would make as many."""
    return b""


def _array_class(*_: Any) -> Any:
    raise RefusedPickle("it makes an array in an unknown way")


class _Dict(dict):
    """An `OrderedDict` or `Counter`, without the attributes that a pickle may give it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


_NDARRAY = StandIn(_array_class)
_STAND_INS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): StandIn(_make_type),
    ("collections", "OrderedDict"): StandIn(_Dict),
    ("collections", "Counter"): StandIn(_Dict),
    ("__builtin__", "set"): StandIn(set),
    ("builtins", "set"): StandIn(set),
    ("_codecs", "encode"): StandIn(_encode),
    ("__builtin__", "bytes"): StandIn(_no_bytes),
    # NumPy 1 and 2.
    **{
        (f"numpy.{core}.{module}", name): StandIn(call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def with_arrays(root: Any) -> Any:
    """`root` with the arrays that are values of dicts. Each dict is visited once, however often it is referred to."""
    if isinstance(root, Array):
        return root.content
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        for key, value in one.items():
            if isinstance(value, Array):
                one[key] = value.content
            else:
                waiting.append(value)
    return root
