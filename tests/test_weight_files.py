import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from amodal_jax import weight_files
from amodal_jax.errors import WeightsError
from amodal_jax.weight_files import plain_weights, read_weights

ROOT = Path(__file__).resolve().parents[1]
PYTORCH = ROOT / "tests" / "golden" / "weights"
WEIGHTS = {
    "conv1.weight": np.random.default_rng(0).normal(size=(8, 3, 7, 7)).astype(np.float32),
    "bn1.bias": np.arange(8, dtype=np.float32),
    "bn1.num_batches_tracked": np.array(5),
}


def write(path, weights):
    """The weights as a file of the kind that the path's ending says."""
    if path.suffix == ".npz":
        np.savez(path, **weights)
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file(weights, path)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": weights, "__author__": "x", "matching_heuristics": True}, protocol=2))
    return path


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".pkl"])
def test_every_kind_of_file_gives_the_same_arrays(ending, tmp_path):
    found = read_weights(write(tmp_path / f"weights{ending}", WEIGHTS))
    assert found.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".pkl"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floats_of_every_precision_become_single(ending, dtype, tmp_path):
    weights = {"a": np.array([0.5, -3.0, 65504.0], dtype)}
    found = read_weights(write(tmp_path / f"weights{ending}", weights))["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0.5, -3.0, 65504.0])


def test_bfloat16(tmp_path):
    values = np.array([1.0, -2.5, 3e38], np.float32).astype(ml_dtypes.bfloat16)
    found = read_weights(write(tmp_path / "weights.safetensors", {"a": values}))["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


@pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt", ".bin", ".pth.tar"])
@pytest.mark.parametrize("form", ["new", "old"])
def test_pytorchs_files(form, ending, tmp_path):
    """What PyTorch has written, in both of its formats."""
    path = tmp_path / f"weights{ending}"
    path.write_bytes((PYTORCH / f"{form}.pth").read_bytes())
    found = read_weights(path)
    with np.load(PYTORCH / "values.npz") as expected:
        assert found.keys() == set(expected)
        for name, array in found.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize(
    "wrapped",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 12, "optimizer": {"state": {}}},
        {"model": {"state_dict": WEIGHTS}},
        {"blobs": WEIGHTS, "cfg": "MODEL: {}"},
        {"net": WEIGHTS, "epoch": 12, "optimizer": {"state": {0: {"momentum_buffer": np.ones(2)}}, "param_groups": []}},
    ],
)
def test_what_training_programs_put_around_the_weights_is_taken_off(wrapped):
    found = plain_weights(wrapped, source="these")
    assert found.keys() == WEIGHTS.keys()
    np.testing.assert_array_equal(found["conv1.weight"], WEIGHTS["conv1.weight"])


def test_containers_that_hold_each_other_come_to_an_end():
    content: dict = {"a": np.ones(1)}
    content["model"] = content
    with pytest.raises(WeightsError, match="these: model is a dict, not an array"):
        plain_weights(content, source="these")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([np.ones(2)], "these: holds a list, not arrays by name"),
        ({}, "these: holds no arrays"),
        ({"model": {}}, "these: holds no arrays"),
        (
            {"net": {"a": np.ones(1)}, "average": {"a": np.ones(1)}},
            r"these: holds arrays in several .*\(net, average\)",
        ),
        ({3: np.ones(2)}, "these: an array is called 3"),
        ({"a": "text"}, "these: a is a str, not an array"),
        ({"a": [np.ones(2), np.ones(3)]}, "these: a is a list, not an array"),
        ({"a": None}, "these: a is a NoneType, not an array"),
        ({"a": np.array(["x"])}, "these: a is of the type <U1"),
        ({"a": np.array([1j])}, "these: a is of the type complex128"),
        ({"a": np.array([1.0, np.nan])}, "these: a has values that are not finite"),
        ({"a": np.array([1e300])}, "these: a has values that are not finite in single precision"),
    ],
)
def test_what_is_no_weights_is_named(content, message):
    with pytest.raises(WeightsError, match=message):
        plain_weights(content, source="these")


@pytest.mark.parametrize("kind", ["weights.npz", "weights.safetensors", "weights.pkl", "new.pth", "old.pth"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "a web page"])
def test_a_damaged_file_is_named(kind, damage, tmp_path):
    path = tmp_path / kind
    content = ((PYTORCH / kind) if path.suffix == ".pth" else write(path, WEIGHTS)).read_bytes()
    page = b"<!DOCTYPE html><html><body>404 not found</body></html>"
    path.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "a web page": page}[damage])
    with pytest.raises(WeightsError, match=rf"{kind}: .*(download|copy) it again"):
        read_weights(path)


def test_changed_bytes_of_an_archive_are_noticed(tmp_path):
    path = write(tmp_path / "weights.npz", WEIGHTS)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="weights.npz: cannot be read"):
        read_weights(path)


def test_wrong_paths(tmp_path):
    with pytest.raises(WeightsError, match=r'weights.h5: has the ending ".h5"; files of weights end with .npz'):
        read_weights(tmp_path / "weights.h5")
    with pytest.raises(WeightsError, match="weights: has no ending"):
        read_weights(tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"weights.pkl: cannot be read \(No such file"):
        read_weights(tmp_path / "weights.pkl")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(WeightsError, match=r"folder.npz: cannot be read \(Is a directory\)"):
        read_weights(tmp_path / "folder.npz")
    write(tmp_path / "weights.npz", WEIGHTS).rename(tmp_path / "weights.pkl")
    with pytest.raises(WeightsError, match="weights.pkl: is an archive, .* rename it to .pth or .npz"):
        read_weights(tmp_path / "weights.pkl")


def test_a_lack_of_memory_is_no_damage(tmp_path, monkeypatch):
    def load(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(MemoryError):
        read_weights(write(tmp_path / "weights.npz", WEIGHTS))


class TensorWithoutValues:
    """What PyTorch's tensors on its device "meta" do; sparse and quantised ones do the like."""

    def detach(self):
        raise NotImplementedError("Cannot copy out of meta tensor; no data!\nC++ stack trace")


def test_an_unusual_tensor_is_named():
    with pytest.raises(WeightsError, match=r"these: a is a sparse, .* unusual tensor \(Cannot .* no data!\); save"):
        plain_weights({"a": TensorWithoutValues()}, source="these")


class Touches:
    """Unpickled, it leaves a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("ending", [".npz", ".pkl"])
def test_a_hostile_file_is_refused_and_runs_nothing(ending, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / f"weights{ending}"
    if ending == ".npz":
        np.savez(path, fine=np.ones(2), hostile=np.array([Touches(marker)], object))
    else:
        path.write_bytes(pickle.dumps({"model": {"fine": np.ones(2), "hostile": Touches(marker)}}))
    with pytest.raises(WeightsError, match=rf"weights{ending}: ") as error:
        read_weights(path)
    assert not marker.exists()
    assert "allow_pickle=True" not in str(error.value)  # no word of how to read it all the same


def test_what_a_refused_pickle_asks_for_is_said(tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": Touches(tmp_path / "marker")}))
    with pytest.raises(WeightsError, match=r"weights.pkl: is not read, because it asks for (_?io|builtins).open"):
        read_weights(path)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (75_000_000,)})
        for _ in range(300):
            member.write(bytes(1_000_000))
    with pytest.raises(WeightsError, match="weights.npz: would expand from .* to 300000128 bytes"):
        read_weights(path)


def test_an_archive_that_hardly_expands_may_be_of_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_files, "_UNUSUAL_BYTES", 0)
    np.savez_compressed(tmp_path / "weights.npz", **WEIGHTS)
    assert read_weights(tmp_path / "weights.npz").keys() == WEIGHTS.keys()


def test_no_file_needs_pytorch(tmp_path):
    """In a Python where PyTorch cannot be imported."""
    paths = [write(tmp_path / f"weights{ending}", WEIGHTS) for ending in (".npz", ".safetensors", ".pkl")]
    paths += [PYTORCH / "new.pth", PYTORCH / "old.pth"]
    program = """
import sys
sys.modules["torch"] = None
from amodal_jax.weight_files import read_weights
for path in sys.argv[1:]:
    read_weights(path)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
