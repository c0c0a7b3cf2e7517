import os
import pickle
import resource
import struct
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

from amodal_jax.weights.plain_pickle import RefusedPickle, load_plain_pickle

ARRAYS = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "half": np.array([0.5, -1.5], np.float16),
    "big_endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "no_sides": np.array(7, np.int64),
    "all_bytes": np.arange(256, dtype=np.uint8),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_come_back(protocol):
    content = {
        "model": OrderedDict(ARRAYS),
        "__author__": "someone",
        "matching_heuristics": True,
        "rest": [1, 2.5, None, ("ä", b"\x00\xff", b""), {"a": []}],
        "scalars": {"steps": np.int64(8), "rate": np.float32(0.25)},
    }
    found = load_plain_pickle(pickle.dumps(content, protocol))
    assert found.keys() == content.keys()
    assert [found[name] for name in ("__author__", "matching_heuristics", "rest")] == [
        content[name] for name in ("__author__", "matching_heuristics", "rest")
    ]
    assert found["scalars"] == {"steps": 8, "rate": 0.25}
    for name, array in ARRAYS.items():
        back = found["model"][name]
        assert type(back) is np.ndarray
        assert back.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(back, array, err_msg=name)
        back += np.array(1).astype(back.dtype)  # it is no view of the file


def python_2_array(values, core=b"numpy.core"):
    """How Python 2 pickled a float32 array: byte strings, no memory of what came before."""
    raw = values.astype("<f4").tobytes()
    shape = b"(" + b"".join(b"K" + bytes([side]) for side in values.shape) + b"t"
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return (
        b"c" + core + b".multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01" + shape + dtype + b"I00\nT" + struct.pack("<i", len(raw)) + raw + b"tb"
    )


def test_what_python_2_wrote():
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    content = b"\x80\x02}(U\x07conv1_w" + python_2_array(values) + b"U\x04nameU\x05M\xfcllru."
    found = load_plain_pickle(content)
    np.testing.assert_array_equal(found["conv1_w"], values)
    assert found["name"] == "Müllr"


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Anything:
    """A class of someone's own."""


def hostile_pickles(marker):
    """Pickles of which each would leave the file `marker`, or fill the memory, were it read as Python does."""
    command = f"touch {marker}"
    text = b"(S'" + command.encode() + b"'\n"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
    own = Anything()
    own.name = "x"
    return {
        "a shell command": pickle.dumps({"w": Calls(os.system, command)}),
        "as a key": pickle.dumps({Calls(os.system, command): 1}),
        "a process": pickle.dumps(Calls(subprocess.call, ["touch", marker])),
        "eval": pickle.dumps(Calls(eval, f"open({marker!r}, 'w')")),
        "exec": pickle.dumps(Calls(exec, f"open({marker!r}, 'w')")),
        "getattr": pickle.dumps(Calls(getattr, os.system, "__call__")),
        "open": pickle.dumps(Calls(open, marker, "w")),
        "a name with dots": b"\x80\x04\x8c\x0bcollections\x8c\x20OrderedDict.fromkeys.__globals__\x93.",
        "another of NumPy's": pickle.dumps(Calls(np.load, marker)),
        "NumPy's running of strings": b"cnumpy.testing._private.utils\nrunstring\n" + text + b"(dtR.",
        "within an array's making": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\ncos\nsystem\n"
        + text
        + b"tRU\x01btR.",
        "within an array's content": array + b"(K\x01(K\x01t" + dtype + b"I00\ncos\nsystem\n" + text + b"tRtb.",
        "an array of objects": pickle.dumps(np.array([Calls(os.system, command)], object)),
        "an array of plain objects": pickle.dumps(np.array([1, "a"], object)),
        "a structured array": pickle.dumps(np.zeros(2, [("a", "f4")])),
        "an array of strings": pickle.dumps(np.array(["a"])),
        "a subclass of arrays": pickle.dumps(np.ma.masked_array([1.0, 2.0])),
        "an array's class called": b"cnumpy\nndarray\n((K\x02tU\x02f4tR.",
        "an instance": text + b"ios\nsystem\n.",
        "an object": b"(cos\nsystem\nS'" + command.encode() + b"'\no.",
        "a state for a function": b"cnumpy.core.multiarray\n_reconstruct\n}U\x08__code__K\x01sb.",
        "attributes for a function": b"cnumpy.core.multiarray\n_reconstruct\n(N}U\x05_callU\x01xstb.",
        "attributes for a class": b"cnumpy\ndtype\n(N}U\x0c__setstate__U\x01xstb.",
        "a state for an array": array + b"}U\x07contentK\x01sb.",
        "an instance of a class": pickle.dumps(own),
        "a reference outside": b"Psomething\n.",
        "a shape of a terabyte": array + b"(K\x01(\x8a\x06\x00\x00\x00\x00\x00\x01t" + dtype + b"I00\nU\x04abcdtb.",
        "a negative shape": array + b"(K\x01(J\xff\xff\xff\xffJ\xfc\xff\xff\xfft" + dtype + b"I00\nU\x04abcdtb.",
        "a terabyte of zeros": b"c__builtin__\nbytes\n(\x8a\x06\x00\x00\x00\x00\x00\x01tR.",
        "a byte order of no kind": b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01?tb.",
        "an order of no kind": b"cnumpy.core.numeric\n_frombuffer\n(U\x04abcd" + dtype + b"K\x01\x85U\x01KtR.",
        "another encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        "a wide type": b"cnumpy\ndtype\n(U\x0bV1000000000K\x00K\x01tR.",
        "a table of gigabytes": b"}r" + struct.pack("<I", 1 << 28) + b".",
        "such a table in text": b"(dp268435456\n.",
    }


@pytest.mark.parametrize("kind", hostile_pickles("none"))
def test_a_hostile_pickle_is_refused_and_runs_nothing(kind, tmp_path):
    marker = tmp_path / "marker"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedPickle):
        load_plain_pickle(hostile_pickles(str(marker))[kind])
    assert not marker.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cnumpy\nndarray\n(K\x02t\x85\x81.",  # an instance of what is no class here
        b"\x80\x02\x82\x01.",  # an object that the program has registered with the standard library
    ],
)
def test_what_the_standard_library_refuses_by_itself(content):
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        load_plain_pickle(content)


def test_the_hostile_pickles_are_hostile(tmp_path):
    """Python's own unpickler runs them: the test above would notice if ours did."""
    for kind in ("a shell command", "as a key", "a process", "within an array's making", "an array of objects"):
        marker = tmp_path / kind.replace(" ", "_").replace("'", "")
        path = tmp_path / "pickle"
        path.write_bytes(hostile_pickles(str(marker))[kind])
        program = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'), encoding='latin1')"
        subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, check=False)
        assert marker.exists(), kind


def test_a_pickle_leaves_nothing_behind():
    """After the refused ones the same names still read arrays."""
    for content in hostile_pickles("none").values():
        with pytest.raises(RefusedPickle):
            load_plain_pickle(content)
    np.testing.assert_array_equal(load_plain_pickle(pickle.dumps({"a": np.ones(3)}))["a"], np.ones(3))


def test_shared_containers_are_visited_once():
    """Sixty dicts of twice the next one would be visited 2 ** 60 times otherwise."""
    content: dict = {"array": np.ones(2)}
    for _ in range(60):
        content = {"left": content, "right": content}
    found = load_plain_pickle(pickle.dumps(content))
    for _ in range(60):
        found = found["left"]
    np.testing.assert_array_equal(found["array"], np.ones(2))


@pytest.mark.parametrize("length", [0, 1, 30, 200, -1])
def test_a_truncated_pickle_is_an_error(length):
    with pytest.raises(Exception, match=".") as error:
        load_plain_pickle(pickle.dumps(ARRAYS)[:length])
    assert not isinstance(error.value, RefusedPickle)
