"""Writes the golden files of tests/golden/models from torch and torchvision, which the tests themselves do not need.

Run it where torch and torchvision are installed (made with torch 2.13, torchvision 0.28):

    python tests/golden/regenerate/models.py

Weights are drawn from their names by tests/helpers/seeded_weights.py on both sides; of wide outputs every eighth
channel is kept.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "golden" / "models"
sys.path.insert(0, str(ROOT))

from tests.helpers.seeded_weights import seeded_weight  # noqa: E402


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


def proposals(rng):
    """What the RPN keeps of two images, in training and in inference; some boxes are too thin, some nearly so."""
    feature_sizes = [(12, 28), (6, 14), (3, 7), (2, 4), (1, 2)]
    image_sizes = [(48, 112), (41, 90)]
    generator = AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5)
    maps = [torch.zeros(2, 1, *size) for size in feature_sizes]
    anchors = generator(ImageList(torch.zeros(2, 3, 48, 112), image_sizes), maps)
    counts = [3 * height * width for height, width in feature_sizes]
    logits = rng.normal(0, 2, (2, sum(counts))).astype(np.float32)
    deltas = rng.normal(0, 0.3, (2, sum(counts), 4)).astype(np.float32)
    for image in range(2):
        thin = rng.choice(sum(counts), 60, replace=False)
        sides = (anchors[image][:, 2:] - anchors[image][:, :2]).numpy()[thin]
        deltas[image, thin[:30], 2] = np.log(5e-3 / sides[:30, 0])
        deltas[image, thin[30:], 3] = np.log(5e-4 / sides[30:, 1])
        logits[image, thin] += 4
    pre_nms, post_nms = {"training": 150, "testing": 30}, {"training": 120, "testing": 200}
    rpn = RegionProposalNetwork(generator, None, 0.7, 0.3, 256, 0.5, pre_nms, post_nms, nms_thresh=0.6)
    decoded = rpn.box_coder.decode(torch.tensor(deltas.reshape(-1, 4)), anchors).reshape(2, -1, 4)
    result = {"feature_sizes": np.array(feature_sizes), "image_sizes": np.array(image_sizes)}
    result |= {"logits": logits, "deltas": deltas}
    for phase in ("training", "testing"):
        rpn.training = phase == "training"
        kept, scores = rpn.filter_proposals(decoded, torch.tensor(logits), image_sizes, counts)
        result[f"{phase}_settings"] = np.array([pre_nms[phase], post_nms[phase]])
        for image in range(2):
            sides = (kept[image][:, 2:] - kept[image][:, :2]).min(dim=1).values
            assert ((sides > 1e-3) & (sides < 1e-2)).any(), "no box is nearly too thin"
            result |= {f"{phase}_boxes_{image}": kept[image], f"{phase}_scores_{image}": scores[image]}
    return result


def detections(rng):
    """What the RoI heads keep of two images: of one as much as there may be, of the other a few boxes."""
    image_sizes = [(48, 112), (41, 90)]
    corner = rng.uniform(-5, [80, 30], (2, 15, 2))
    places = np.concatenate([corner, corner + np.exp(rng.uniform(2, 4, (2, 15, 2)))], axis=-1)
    boxes = (places.repeat(4, axis=1) + rng.normal(0, 1.5, (2, 60, 4))).astype(np.float32)  # four about each place
    weights = (8.0, 9.0, 4.0, 6.0)
    logits = rng.normal(0, 2, (2, 60, 5)).astype(np.float32)
    logits[1, :, 0] += 6.5
    deltas = (rng.normal(0, 0.1, (2, 60, 5, 4)) * weights).astype(np.float32)
    for image in range(2):
        for index, side in ((0, 5e-3), (1, 5e-3), (2, 2e-2), (3, 2e-2)):
            deltas[image, index, :, 2] = weights[2] * np.log(side / (boxes[image, index, 2] - boxes[image, index, 0]))
            logits[image, index, 1:] += 8
    heads = RoIHeads(None, None, None, 0.5, 0.5, 512, 0.25, weights, 0.07, 0.4, 40)
    kept = heads.postprocess_detections(
        torch.tensor(logits.reshape(120, 5)),
        torch.tensor(deltas.reshape(120, 20)),
        list(torch.tensor(boxes)),
        image_sizes,
    )
    result = {"image_sizes": np.array(image_sizes), "proposals": boxes, "logits": logits, "deltas": deltas}
    for image, (found, scores, labels) in enumerate(zip(*kept, strict=True)):
        sides = (found[:, 2:] - found[:, :2]).min(dim=1).values
        assert (sides > 1e-2).all()
        assert (sides < 5e-2).any(), "no box is nearly too thin"
        result |= {f"boxes_{image}": found, f"scores_{image}": scores, f"labels_{image}": labels}
    assert len(kept[0][0]) == 40 > len(kept[0][1]) > 5
    return result


def main():
    """Writes one file per group of modules."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, make in enumerate([layers, backbone, proposals, detections]):
        torch.manual_seed(seed)
        with torch.no_grad():
            arrays: dict[str, Any] = {name: np.asarray(v) for name, v in make(np.random.default_rng(seed)).items()}
        path = FOLDER / f"{make.__name__}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
