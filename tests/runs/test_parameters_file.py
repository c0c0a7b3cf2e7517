import jax
import numpy as np
import pytest
import safetensors.numpy

from amodal_jax.errors import CheckpointError
from amodal_jax.runs import parameters_file

VARIABLES = {
    "params": {
        "backbone": {"conv1": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}},
        "head": {"bias": np.array(0.5, np.float32)},
    },
    "frozen": {"backbone": {"bn1": {"mean": np.linspace(-1, 1, 5, dtype=np.float32)}}},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / parameters_file.FILE_NAME
    parameters_file.write_parameters(path, VARIABLES, step=12)
    return path


def test_what_is_written_comes_back(path):
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), VARIABLES)
    found, step = parameters_file.read_parameters(path, like)
    assert step == 12
    assert jax.tree.structure(found) == jax.tree.structure(VARIABLES)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(VARIABLES), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_any_reader_of_safetensors_finds_the_paths(path):
    assert set(safetensors.numpy.load_file(path)) == {
        "params/backbone/conv1/kernel",
        "params/head/bias",
        "frozen/backbone/bn1/mean",
    }


def test_arrays_that_do_not_lie_as_they_are_indexed(tmp_path):
    transposed = {"params": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T}}
    parameters_file.write_parameters(tmp_path / "file", transposed, step=0)
    found, _ = parameters_file.read_parameters(tmp_path / "file", transposed)
    np.testing.assert_array_equal(found["params"]["kernel"], transposed["params"]["kernel"])


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            {"params": VARIABLES["params"]},
            "frozen/backbone/bn1/mean is float32 (5,) in the file and absent in the network",
        ),
        (
            VARIABLES | {"more": {"x": np.zeros(3, np.int32)}},
            "more/x is absent in the file and int32 (3,) in the network",
        ),
        (
            VARIABLES | {"frozen": {"backbone": {"bn1": {"mean": np.zeros(6, np.float32)}}}},
            "frozen/backbone/bn1/mean is float32 (5,) in the file and float32 (6,) in the network",
        ),
        (
            VARIABLES | {"frozen": {"backbone": {"bn1": {"mean": np.zeros(5, np.float16)}}}},
            "frozen/backbone/bn1/mean is float32 (5,) in the file and float16 (5,) in the network",
        ),
    ],
)
def test_arrays_of_another_network_are_named(path, like, message):
    with pytest.raises(CheckpointError) as caught:
        parameters_file.read_parameters(path, like)
    assert str(caught.value) == f"{path}: does not fit the configuration: {message}"


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_file_that_is_cut_off_is_named(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=rf"{path}: cannot be read .*; copy or export it again"):
        parameters_file.read_parameters(path, VARIABLES)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.safetensors: cannot be read"):
        parameters_file.read_parameters(tmp_path / "absent.safetensors", VARIABLES)
