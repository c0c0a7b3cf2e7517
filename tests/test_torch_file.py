import contextlib
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_jax.errors import WeightsError
from amodal_jax.plain_pickle import RefusedPickle
from amodal_jax.torch_file import load_torch_file
from amodal_jax.weight_files import read_weights
from tests.test_plain_pickle import hostile_pickles

GOLDEN = Path(__file__).resolve().parent / "golden" / "weights"
FORMS = ("new", "old")


def load(path, most_bytes=1 << 20):
    return load_torch_file(path, most_bytes=most_bytes)


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_beside_the_weights(form):
    content = load(GOLDEN / f"{form}.pth")
    assert content["iteration"] == 3
    assert content["shape"] == (2, 3)
    assert content["device"] == "cpu"
    groups = content["optimizer"]["param_groups"]
    assert (groups[0]["momentum"], groups[0]["params"]) == (0.9, [0, 1])
    np.testing.assert_array_equal(content["optimizer"]["state"][0]["momentum_buffer"], np.ones((2, 2)))


@pytest.mark.parametrize("form", FORMS)
def test_what_shares_memory_is_not_copied(form):
    found = load(GOLDEN / f"{form}.pth")["model"]
    for name in ("its end", "every other", "turned"):
        assert np.shares_memory(found[name], found["all of the storage"])
        assert not found[name].flags.writeable


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sparse", "it asks for torch._utils._rebuild_sparse_tensor"),
        ("quantised", "it asks for torch._utils._rebuild_qtensor"),
        ("negated", "it has a tensor of an unknown kind"),
        ("network", "it asks for torch.nn.modules.linear.Linear"),
        ("network_old", "it asks for torch.nn.modules.linear.Linear"),
        ("script", "it is a TorchScript archive, which holds a program"),
    ],
)
def test_what_is_more_than_tensors_is_refused(name, reason):
    with pytest.raises(WeightsError, match=rf"{name}.pth: is not read, because {reason}; .*state_dict"):
        read_weights(GOLDEN / f"{name}.pth")


# ----- files that PyTorch has not written, out of the pickle's operations


def text(value):
    return b"U" + bytes([len(value)]) + value.encode()


def number(value):
    return b"I%d\n" % value


def row_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(kind="torch\nFloatStorage", key="0", count=4, *more):
    return row_of(text("storage"), b"c" + kind.encode() + b"\n", text(key), text("cpu"), number(count), *more) + b"Q"


def tensor(of=None, start=0, shape=(2, 2), strides=(2, 1), metadata=b"", rebuild="_rebuild_tensor_v2"):
    shape, strides = (row_of(*map(number, sides)) for sides in (shape, strides))
    arguments = (storage() if of is None else of, number(start), shape, strides, b"\x89", b"}", metadata)
    return b"ctorch._utils\n" + rebuild.encode() + b"\n" + row_of(*arguments) + b"R"


def weights(**values):
    return b"\x80\x02}" + b"".join(text(name) + value + b"s" for name, value in values.items()) + b"."


FOUR = np.arange(4, dtype="<f4").tobytes()


def new_file(path, pickled, *storages, **others):
    with zipfile.ZipFile(path, "w") as file:
        others |= {f"data/{key}": content for key, content in enumerate(storages)}
        for name, content in {"data.pkl": pickled, **others}.items():
            file.writestr(f"any/{name}", content)
    return path


def old_file(path, pickled, *storages):
    parts = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    parts += [pickled, pickle.dumps([str(key) for key in range(len(storages))], 2)]
    parts += [len(content).to_bytes(8, "little") + content for content in storages]
    path.write_bytes(b"".join(parts))
    return path


def test_a_tensor_is_read_where_it_lies_in_its_storage(tmp_path):
    """That the files below are as PyTorch's but for what is wrong with them."""
    pickled = weights(a=tensor(), b=tensor(start=1, shape=(2,), strides=(2,)))
    found = load(new_file(tmp_path / "weights.pth", pickled, FOUR))
    assert found["a"].tolist() == [[0, 1], [2, 3]]
    assert found["b"].tolist() == [1, 3]


def test_what_a_big_endian_machine_wrote(tmp_path):
    path, swapped = tmp_path / "weights.pth", np.arange(4, dtype=">f4").tobytes()
    assert load(new_file(path, weights(a=tensor()), swapped, byteorder=b"big"))["a"].tolist() == [[0, 1], [2, 3]]
    of_type = tensor(
        storage("torch.storage\nUntypedStorage", count=16), metadata=b"ctorch\nfloat32\n", rebuild="_rebuild_tensor_v3"
    )
    assert load(new_file(path, weights(a=of_type), FOUR))["a"].tolist() == [[0, 1], [2, 3]]
    with pytest.raises(RefusedPickle, match="bytes in an unknown order"):
        load(new_file(path, weights(a=of_type), swapped, byteorder=b"big"))


@pytest.mark.parametrize("file", [new_file, old_file])
@pytest.mark.parametrize("kind", hostile_pickles("none"))
def test_a_hostile_pickle_is_refused_and_runs_nothing(file, kind, tmp_path):
    marker = tmp_path / "marker"
    path = file(tmp_path / "weights.pth", hostile_pickles(str(marker))[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="is not read, because"):
        read_weights(path)
    assert not marker.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


HOSTILE = {
    "a storage called": b"ctorch\nFloatStorage\n" + row_of(number(1 << 40)) + b"R",
    "a type called": b"ctorch\nfloat32\n" + row_of(number(1 << 40)) + b"R",
    "the class called": b"ctorch\nTensor\n" + row_of(number(1 << 40)) + b"R",
    "a state for a tensor": tensor()
    + row_of(number(1), row_of(number(4)), b"cnumpy\ndtype\n", b"I00\n", text("x"))
    + b"b",
    "a state for a storage": storage() + b"}" + text("count") + number(9) + b"sb",
    "a state for a function": b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("_call") + number(1) + b"sb",
    "another reference": row_of(text("module"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(4)) + b"Q",
    "a reference that is text": text("storage") + b"Q",
    "a storage of no class": row_of(text("storage"), text("float"), text("0"), text("cpu"), number(4)) + b"Q",
    "a part of a storage": storage("torch\nFloatStorage", "0", 4, row_of(text("1"), number(0), number(2))),
    "a storage of two types": row_of(tensor(), tensor(storage("torch\nIntStorage"))),
    "a negative count": tensor(storage(count=-1)),
    "a negative start": tensor(start=-1),
    "a negative side": tensor(shape=(-2, -2)),
    "negative strides": tensor(strides=(-2, -1)),
    "too few strides": tensor(strides=(1,)),
    "a tensor of nothing": tensor(b"N"),
    "a tensor of a tensor": tensor(tensor()),
    "negated values": tensor(metadata=b"}" + text("neg") + b"\x88s"),
    "a terabyte of one value": tensor(shape=(1 << 40,), strides=(0,)),
    "a terabyte of little by little": b"(" + tensor(shape=(1 << 18,), strides=(0,)) * 40 + b"t",
    "a parameter of text": b"ctorch._utils\n_rebuild_parameter\n" + row_of(text("x"), b"\x88", b"}") + b"R",
    "another function's tensor": b"ctorch._tensor\n_rebuild_from_type_v2\n"
    + row_of(b"ctorch\nSize\n", b"ctorch\nTensor\n", row_of(row_of(number(3))), b"}")
    + b"R",
    "a tensor of a class of its own": b"ctorch._tensor\n_rebuild_from_type_v2\n"
    + row_of(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n", row_of(), b"}")
    + b"R",
    "bytes loaded": b"ctorch.storage\n_load_from_bytes\n" + row_of(text("x")) + b"R",
    "a function of PyTorch": b"ctorch.hub\nload\n" + row_of(text("x")) + b"R",
}


@pytest.mark.parametrize("file", [new_file, old_file])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tensor_that_is_none_is_refused(file, kind, tmp_path):
    path = file(tmp_path / "weights.pth", weights(w=HOSTILE[kind]), FOUR)
    with pytest.raises(RefusedPickle):
        load(path)


@pytest.mark.parametrize(
    ("value", "storages"),
    [
        (tensor(start=1), [FOUR]),
        (tensor(strides=(3, 1)), [FOUR]),
        (tensor(storage(count=5)), [FOUR]),
        (tensor(storage(count=1 << 60)), [FOUR]),
        (tensor(storage(key="1")), [FOUR]),
        (tensor(storage(key="../data.pkl")), [FOUR]),
        (tensor(), []),
    ],
)
@pytest.mark.parametrize("file", [new_file, old_file])
def test_a_tensor_without_its_bytes_is_damage(file, value, storages, tmp_path):
    path = file(tmp_path / "weights.pth", weights(w=value), *storages)
    with pytest.raises(WeightsError, match=r"weights.pth: cannot be read as .pth .*copy or download it again"):
        read_weights(path)


def test_an_archive_that_expands_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("any/data.pkl", weights(a=tensor(storage(count=1 << 20))))
        file.writestr("any/data/0", bytes(4 << 20))
    with pytest.raises(RefusedPickle, match="would expand"):
        load(path)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as file:
        file.writestr("word/document.xml", b"<w/>")
    with pytest.raises(WeightsError, match="the archive is not one of PyTorch's"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=200)
@given(data=st.data())
def test_a_file_that_lacks_its_end_is_damaged(form, tmp_path_factory, data):
    content = (GOLDEN / f"{form}.pth").read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.pth"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(WeightsError, match=r"cut.pth: cannot be read as .pth"):
        read_weights(path)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=300)
@given(data=st.data())
def test_changed_bytes_are_read_or_named(form, tmp_path_factory, data):
    content = bytearray((GOLDEN / f"{form}.pth").read_bytes())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=5)
    ):
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "changed.pth"
    path.write_bytes(content)
    with contextlib.suppress(WeightsError):
        read_weights(path)
