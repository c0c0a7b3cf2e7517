"""Writes the files of tests/golden/weights with torch, which the tests themselves do not need.

Run it where torch is installed (made with torch 2.14):

    python scripts/regenerate_golden_weights.py

`new.pth` and `old.pth` hold the same in PyTorch's two formats, `values.npz` what they hold, and the others what no file
of weights holds.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden" / "weights"


def weights() -> dict[str, torch.Tensor]:
    """Tensors of every type, and views of every kind."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    numbers = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    types = (
        *(torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8),
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool),
    )
    state = network.state_dict()
    state |= {str(dtype).removeprefix("torch."): torch.tensor([[0, 1, 3], [100, 7, 0]]).to(dtype) for dtype in types}
    state |= {
        "all of the storage": numbers,
        "its end": numbers[1, 1:],
        "every other": numbers[:, :, ::2],
        "turned": numbers.permute(2, 0, 1),
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
        "a number": torch.tensor(2.5),
        "nothing": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.tensor([1.0, -1.0])),
        "buffer": torch.nn.Buffer(torch.tensor([3.0])),
    }
    return state


def main() -> None:
    """Writes them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    state = weights()
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "iteration": 3,
        "shape": torch.Size([2, 3]),
        "type": torch.float32,
        "device": torch.device("cpu"),
    }
    torch.save(content, FOLDER / "new.pth")
    torch.save(content, FOLDER / "old.pth", _use_new_zipfile_serialization=False)
    values = {name: (one.float() if one.is_floating_point() else one).detach().numpy() for name, one in state.items()}
    np.savez_compressed(FOLDER / "values.npz", **values)

    torch.save({"w": torch.eye(2).to_sparse()}, FOLDER / "sparse.pth")
    torch.save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, FOLDER / "quantised.pth")
    torch.save({"w": torch.tensor([1j]).conj().imag}, FOLDER / "negated.pth")
    torch.save(network, FOLDER / "network.pth")
    torch.save(network, FOLDER / "network_old.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(network).save(FOLDER / "script.pth")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
