"""Writes the golden files of tests/golden/models from torch and torchvision, which the tests themselves do not need.

Run it where torch and torchvision are installed (made with torch 2.13, torchvision 0.28):

    python scripts/regenerate_golden_models.py

Weights are drawn from their names by tests/models/seeded_weights.py on both sides; of wide outputs every eighth channel
is kept.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "golden" / "models"
sys.path.insert(0, str(ROOT))

from tests.models.seeded_weights import seeded_weight  # noqa: E402


def seed_weights(module):
    """Replaces every parameter and buffer by the value that its name gives."""
    state = module.state_dict()
    module.load_state_dict({name: torch.tensor(seeded_weight(name, tuple(v.shape))) for name, v in state.items()})
    return module.eval()


def layers(rng):
    """The two transposed convolutions of stride 2 and group normalisation."""
    inputs = torch.tensor(rng.normal(size=(2, 6, 5, 7)).astype(np.float32))
    result = {"inputs": inputs.permute(0, 2, 3, 1)}
    for name, size, options in [("deconv2x2", 2, {}), ("deconv3x3", 3, {"padding": 1, "output_padding": 1})]:
        module = torch.nn.ConvTranspose2d(6, 4, size, stride=2, **options)
        result |= {f"{name}_weight": module.weight, f"{name}_bias": module.bias}
        result[f"{name}_outputs"] = module(inputs).permute(0, 2, 3, 1)
    scale, bias = torch.tensor(rng.normal(size=(2, 6)).astype(np.float32))
    outputs = torch.nn.functional.group_norm(inputs * 3 + 5, 2, scale, bias)
    return result | {"norm_scale": scale, "norm_bias": bias, "norm_outputs": outputs.permute(0, 2, 3, 1)}


def backbone(rng):
    """ResNets with every kind of block, and the pyramid on the deepest; the levels have odd and even sizes."""
    image = torch.tensor(rng.normal(size=(1, 3, 40, 56)).astype(np.float32))
    result = {"image": image.permute(0, 2, 3, 1)}
    frozen, group = torchvision.ops.FrozenBatchNorm2d, lambda channels: torch.nn.GroupNorm(32, channels)
    for name, network in {
        "resnet18": torchvision.models.resnet18(norm_layer=group),
        "resnet50": torchvision.models.resnet50(norm_layer=frozen),
    }.items():
        del network.fc
        seed_weights(network)
        x = network.maxpool(network.relu(network.bn1(network.conv1(image))))
        stages = {}
        for stage in (1, 2, 3, 4):
            x = stages[f"c{stage + 1}"] = getattr(network, f"layer{stage}")(x)
        result |= {f"{name}_{level}": stage[:, ::8].permute(0, 2, 3, 1) for level, stage in stages.items()}
    pool = torchvision.ops.feature_pyramid_network.LastLevelMaxPool()
    pyramid = seed_weights(torchvision.ops.FeaturePyramidNetwork([256, 512, 1024, 2048], 256, pool))
    levels = pyramid(stages)
    return result | {
        f"fpn_p{index}": level[:, ::8].permute(0, 2, 3, 1) for index, level in enumerate(levels.values(), start=2)
    }


def main():
    """Writes one file per group of modules."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, make in enumerate([layers, backbone]):
        torch.manual_seed(seed)
        with torch.no_grad():
            arrays = {name: value.detach().numpy() for name, value in make(np.random.default_rng(seed)).items()}
        path = FOLDER / f"{make.__name__}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
