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
from collections.abc import Callable
from typing import Any

import numpy as np

_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")  # names of NumPy types: Booleans, integers and floats
_BYTE_ORDERS = ("<", ">", "=", "|")


class RefusedPickle(Exception):
    """A pickle that asks for more than arrays of numbers and plain containers; says for what."""


def load_plain_pickle(content: bytes) -> Any:
    """What a pickle holds: plain containers, strings, bytes, numbers, None, and NumPy arrays as values of dicts.

    Pickles of every protocol are read, those of Python 2 included, whose strings are decoded as Latin-1. An
    `OrderedDict` comes as a dict, a NumPy scalar as a number.

    Raises:
      RefusedPickle: it asks for anything else, or for memory beyond its own size. Nothing has been run.
      Exception: it is truncated or no pickle; `pickle.Unpickler` raises errors of many kinds.
    """
    _check_memo(content)
    return _with_arrays(_PlainUnpickler(content).load())


def _check_memo(content: bytes) -> None:
    """Refuses a pickle that numbers its objects beyond their count: the unpickler makes a table of that length."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > count:
            raise RefusedPickle(f"it numbers an object {argument} where there are {count} at most")


class _PlainUnpickler(pickle.Unpickler):
    """Finds stand-ins only."""

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content), fix_imports=False, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise RefusedPickle(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedPickle("it refers to objects outside of it")


class _StandIn:
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


class _Array:
    """An array that has yet to be told its content."""

    def __init__(self):
        self.content: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        # (version, shape, type, whether in Fortran's order, bytes), without the version in the oldest files
        fields = state[-4:] if isinstance(state, tuple) else ()
        if len(fields) != 4 or not isinstance(fields[1], _Type):
            raise RefusedPickle("it has an array of an unknown kind")
        shape, dtype, fortran, content = fields
        self.content = dtype.array(content, shape, "F" if fortran else "C")


def _make_type(name: Any, *_: Any) -> _Type:
    if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
        raise RefusedPickle(f"it has an array of the type {name!r}, which is none of numbers")
    return _Type(name)


def _reconstruct(kind: Any, shape: Any, type_code: Any) -> _Array:
    """NumPy's pickles make an array without content first; its shape and type are those of the content."""
    if kind is not _NDARRAY:
        raise RefusedPickle("it has an array of a class of its own")
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """NumPy's pickles of protocol 5 make an array at once."""
    if not isinstance(dtype, _Type) or order not in ("C", "F"):
        raise RefusedPickle("it has an array of an unknown kind")
    array = _Array()
    array.content = dtype.array(content, shape, order)
    return array


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


_NDARRAY = _StandIn(_array_class)
_STAND_INS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _StandIn(_make_type),
    ("collections", "OrderedDict"): _StandIn(lambda pairs=(): dict(pairs)),
    ("_codecs", "encode"): _StandIn(_encode),
    ("__builtin__", "bytes"): _StandIn(_no_bytes),
    # NumPy 1 and 2.
    **{
        (f"numpy.{core}.{module}", name): _StandIn(call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _with_arrays(root: Any) -> Any:
    """`root` with the arrays that are values of dicts. Each dict is visited once, however often it is referred to."""
    if isinstance(root, _Array):
        return root.content
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        for key, value in one.items():
            if isinstance(value, _Array):
                one[key] = value.content
            else:
                waiting.append(value)
    return root
