"""Writes tests/golden/models/{panet,bcnet,aisformer}.npz from small PyTorch modules made of its layers.

Run it where torch is installed (made with torch 2.13):

    python tests/golden/regenerate/zoo.py

The modules do what the networks' own code does, whose files amodal_jax/models names, with few channels and cells. Their
layers are called as ours, and their weights are drawn from these names by tests/helpers/seeded_weights.py on both
sides.
All is computed in float64. Each file holds, by module, its inputs and outputs, and the gradients of inputs and weights
for the gradients of the outputs ("weighting"), which it holds too; maps are NCHW and weights as torch has them.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate, relu

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "golden" / "models"
sys.path.insert(0, str(ROOT))

from tests.helpers.seeded_weights import seeded_weight  # noqa: E402

CHANNELS = 8
STRIDES = (4, 8, 16, 32)


def convolution(inputs, outputs, size=3, stride=1, bias=True):
    """A convolution that keeps the size at a stride of 1."""
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias)


# ----- PANet


class Neck(nn.Module):
    """The pyramid from C2..C5 and the path back up, without normalisation and with a ReLU after each of its layers."""

    def __init__(self, stage_channels):
        super().__init__()
        for level, inputs in enumerate(stage_channels, start=1):
            setattr(self, f"inner{level}", convolution(inputs, CHANNELS, 1))
            setattr(self, f"layer{level}", convolution(CHANNELS, CHANNELS))
        self.bottom_up = nn.ModuleDict()
        for level in (3, 4, 5):
            self.bottom_up[f"down{level}"] = convolution(CHANNELS, CHANNELS, stride=2)
            self.bottom_up[f"merge{level}"] = convolution(CHANNELS, CHANNELS)

    def forward(self, *stages):
        above, pyramid = None, []
        for level in (4, 3, 2, 1):
            lateral = getattr(self, f"inner{level}")(stages[level - 1])
            above = lateral if above is None else lateral + interpolate(above, size=lateral.shape[2:], mode="nearest")
            pyramid.insert(0, getattr(self, f"layer{level}")(above))
        levels = [pyramid[0]]
        for level, coarser in enumerate(pyramid[1:], start=3):
            halved = relu(self.bottom_up[f"down{level}"](levels[-1]))
            levels.append(relu(self.bottom_up[f"merge{level}"](halved + coarser)))
        return (*levels, levels[-1][:, :, ::2, ::2])


def pool(level, boxes, cells, stride):
    """ROIAlign of boxes on a map [1, C, H, W] with two samples a cell and axis, without the half-pixel correction."""
    height, width = level.shape[2:]
    corner = boxes[:, :2] / stride
    side = (boxes[:, 2:] / stride - corner).clamp(min=1)
    steps = (torch.arange(2 * cells) + 0.5) / (2 * cells)
    x, y = (corner[:, axis, None] + steps * side[:, axis, None] for axis in (0, 1))  # [N, samples] each
    inside = ((y > -1) & (y < height))[:, :, None] & ((x > -1) & (x < width))[:, None, :]

    def around(positions, length):
        positions = positions.clamp(0, length - 1)
        low = positions.floor().long().clamp(max=max(length - 2, 0))
        return low, (low + 1).clamp(max=length - 1), positions - low

    (top, bottom, down), (left, right, along) = around(y, height), around(x, width)
    samples = 0
    for rows, row_weight in ((top, 1 - down), (bottom, down)):
        for columns, column_weight in ((left, 1 - along), (right, along)):
            weight = row_weight[:, :, None] * column_weight[:, None, :] * inside
            samples = samples + level[0][:, rows[:, :, None], columns[:, None, :]] * weight
    regions = len(boxes)
    return samples.reshape(-1, regions, cells, 2, cells, 2).mean(dim=(3, 5)).transpose(0, 1)


class Branch(nn.Module):
    """Four convolutions, of which the first exists once a level, and what is the same of all that begins so."""

    def level_layers(self, name):
        for level in (2, 3, 4, 5):
            setattr(self, f"{name}_level{level}", convolution(CHANNELS, CHANNELS))

    def fuse_levels(self, name, features):
        """The maximum over the levels of each one's own first layer."""
        outputs = [relu(getattr(self, f"{name}_level{level}")(x)) for level, x in enumerate(features, start=2)]
        return torch.stack(outputs).amax(dim=0)


class BoxBranch(Branch):
    """A box branch on features pooled from all levels."""

    def __init__(self, boxes, cells, hidden):
        super().__init__()
        self.boxes, self.cells = boxes, cells
        self.convolutions = Branch()
        self.convolutions.level_layers("conv1")
        for number in (2, 3, 4):
            setattr(self.convolutions, f"conv{number}", convolution(CHANNELS, CHANNELS))
        self.fc = nn.Linear(CHANNELS * cells * cells, hidden)

    def forward(self, *levels):
        features = [pool(level, self.boxes, self.cells, stride) for level, stride in zip(levels, STRIDES, strict=True)]
        x = self.convolutions.fuse_levels("conv1", features)
        for number in (2, 3, 4):
            x = relu(getattr(self.convolutions, f"conv{number}")(x))
        return (relu(self.fc(x.flatten(1))),)


class Fusion(nn.Module):
    """Two convolutions and a dense layer to every cell of the mask."""

    def __init__(self, cells, relu_after):
        super().__init__()
        self.relu_after = relu_after
        self.conv1 = convolution(CHANNELS, CHANNELS)
        self.conv2 = convolution(CHANNELS, CHANNELS // 2)
        self.fc = nn.Linear(CHANNELS // 2 * cells * cells, 4 * cells * cells)

    def forward(self, x):
        flat = self.fc(relu(self.conv2(relu(self.conv1(x)))).flatten(1))
        side = 2 * x.shape[-1]
        return (relu(flat) if self.relu_after else flat).reshape(-1, 1, side, side)


class FusionMaskBranch(Branch):
    """A mask branch on features of all levels, whose third layer's output also goes through the fusion."""

    def __init__(self, cells, classes, relu_after):
        super().__init__()
        self.level_layers("mask_fcn1")
        for number in (2, 3, 4):
            setattr(self, f"mask_fcn{number}", convolution(CHANNELS, CHANNELS))
        self.conv5_mask = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2)
        self.mask_fcn_logits = convolution(CHANNELS, classes, 1)
        self.fusion = Fusion(cells, relu_after)

    def forward(self, *features):
        x = self.fuse_levels("mask_fcn1", features)
        third = relu(self.mask_fcn3(relu(self.mask_fcn2(x))))
        return (self.mask_fcn_logits(relu(self.conv5_mask(relu(self.mask_fcn4(third))))) + self.fusion(third),)


def panet(rng):
    """The neck on odd and even sizes, a box branch on its levels, and mask branches with both forms of fusion."""
    stage_channels = (4, 6, 8, 10)
    sizes = [(17, 22), (9, 11), (5, 6), (3, 3)]
    stages = [rng.normal(size=(1, channels, *size)) for channels, size in zip(stage_channels, sizes, strict=True)]
    result = record("neck", Neck(stage_channels), stages, rng)
    levels = [rng.normal(size=(1, CHANNELS, *size)) for size in sizes]
    boxes = np.array([[3, 5, 31, 40], [20, 2, 85, 66], [-6, 30, 12, 44], [50, 50, 53, 52]], np.float32)
    result |= record("box", BoxBranch(torch.tensor(boxes).double(), 3, 12), levels, rng)
    result["box boxes"] = boxes
    features = [rng.normal(size=(3, CHANNELS, 4, 4)) for _ in STRIDES]
    for name, relu_after in (("mask", False), ("mask with relu", True)):
        result |= record(name, FusionMaskBranch(4, 3, relu_after), features, rng)
    return result


# ----- BCNet


class NonLocal(nn.Module):
    """Each position attends to all; the batch normalisation of the source is a group normalisation."""

    def __init__(self):
        super().__init__()
        for name in ("query", "key", "value", "output"):
            setattr(self, name, convolution(CHANNELS, CHANNELS, 1, bias=False))
        self.norm = nn.GroupNorm(CHANNELS // 2, CHANNELS, eps=1e-4)

    def forward(self, x):
        query, key, value = (getattr(self, name)(x).flatten(2) for name in ("query", "key", "value"))
        weights = torch.softmax(query.transpose(1, 2) @ key / CHANNELS**0.5, dim=-1)
        attended = (weights @ value.transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        return x + self.norm(self.output(attended))


class Part(nn.Module):
    """Two convolutions, the block, two convolutions."""

    def __init__(self):
        super().__init__()
        for number in (1, 2, 3, 4):
            setattr(self, f"conv{number}", convolution(CHANNELS, CHANNELS))
        self.non_local = NonLocal()

    def forward(self, x):
        x = self.non_local(relu(self.conv2(relu(self.conv1(x)))))
        return relu(self.conv4(relu(self.conv3(x))))


class Output(nn.Module):
    """One map of twice the size."""

    def __init__(self):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2)
        self.logits = convolution(CHANNELS, 1, 1)

    def forward(self, x):
        return self.logits(relu(self.deconv(x)))[:, 0]


class BCNet(nn.Module):
    """The two layers and their maps, the inmodal one added."""

    OUTPUTS = ("occluder_mask", "occluder_boundary", "amodal_mask", "amodal_boundary", "inmodal_mask")

    def __init__(self):
        super().__init__()
        self.occluder_layer, self.object_layer = Part(), Part()
        for name in self.OUTPUTS:
            setattr(self, name, Output())

    def forward(self, x):
        near = self.occluder_layer(x)
        far = self.object_layer(x + near)
        return tuple(getattr(self, name)(near if name.startswith("occluder") else far) for name in self.OUTPUTS)


def bcnet(rng):
    """The whole head."""
    return record("head", BCNet(), [rng.normal(size=(3, CHANNELS, 5, 5))], rng)


# ----- AISFormer


class FeedForward(nn.Module):
    """Dense layers with a ReLU between them."""

    def __init__(self, *channels):
        super().__init__()
        self.count = len(channels) - 1
        for number in range(1, self.count + 1):
            setattr(self, f"dense{number}", nn.Linear(channels[number - 1], channels[number]))

    def forward(self, x):
        for number in range(1, self.count + 1):
            x = getattr(self, f"dense{number}")(x if number == 1 else relu(x))
        return x


class Layer(nn.Module):
    """An encoder, or with a second attention a decoder: normalised after each step."""

    def __init__(self, norms):
        super().__init__()
        self.self_attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        for name in (*norms, "feed_forward_norm"):
            setattr(self, name, nn.LayerNorm(CHANNELS))
        self.feed_forward = FeedForward(CHANNELS, 24, CHANNELS)


class EncoderLayer(Layer):
    """Tokens among each other."""

    def __init__(self):
        super().__init__(["self_attention_norm"])

    def forward(self, tokens, position):
        placed = tokens + position
        x = self.self_attention_norm(tokens + self.self_attention(placed, placed, tokens)[0])
        return self.feed_forward_norm(x + self.feed_forward(x))


class DecoderLayer(Layer):
    """Queries, which begin at zero, among each other and to the tokens."""

    def __init__(self):
        super().__init__(["self_norm", "cross_norm"])
        self.cross_attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)

    def forward(self, queries, tokens, position):
        x = torch.zeros_like(queries)
        x = self.self_norm(x + self.self_attention(x + queries, x + queries, x)[0])
        x = self.cross_norm(x + self.cross_attention(x + queries, tokens + position, tokens)[0])
        return self.feed_forward_norm(x + self.feed_forward(x))


class AISFormer(nn.Module):
    """The head in inference: visible, occluder, amodal and invisible mask."""

    def __init__(self):
        super().__init__()
        self.conv1 = convolution(CHANNELS, CHANNELS)
        self.deconv = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2)
        self.rows, self.columns = (nn.Embedding(50, CHANNELS // 2) for _ in range(2))
        self.queries = nn.Embedding(4, CHANNELS)
        self.encoder, self.decoder = EncoderLayer(), DecoderLayer()
        self.pixels = nn.ModuleDict({"norm": nn.LayerNorm(CHANNELS), "dense": nn.Linear(CHANNELS, CHANNELS)})
        self.mask_embedding = FeedForward(*[CHANNELS] * 4)
        self.invisible_embedding = FeedForward(2 * CHANNELS, CHANNELS, CHANNELS)

    def forward(self, features):
        x = relu(self.deconv(relu(self.conv1(features))))
        regions, _, side, _ = x.shape
        columns = self.columns.weight[:side][None, :].expand(side, -1, -1)
        rows = self.rows.weight[:side][:, None].expand(-1, side, -1)
        position = torch.cat([columns, rows], dim=-1).flatten(0, 1)
        tokens = x.flatten(2).transpose(1, 2)
        memory = self.encoder(tokens, position)
        found = self.decoder(self.queries.weight.expand(regions, -1, -1), memory, position)
        embedded = self.mask_embedding(found)
        hidden = self.invisible_embedding(torch.cat([embedded[:, 2], embedded[:, 0]], dim=-1))
        pixels = self.pixels["dense"](self.pixels["norm"](memory + tokens))
        masks = [embedded[:, 0], embedded[:, 1], embedded[:, 2], hidden]
        return tuple((pixels @ one[:, :, None]).reshape(regions, side, side) for one in masks)


def aisformer(rng):
    """The whole head."""
    return record("head", AISFormer(), [rng.normal(size=(3, CHANNELS, 5, 5))], rng)


# ----- files


def record(name, module, inputs, rng):
    """Runs a module with seeded weights on float32 inputs, forwards and backwards."""
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    module.load_state_dict({key: torch.tensor(seeded_weight(key, shape)) for key, shape in shapes.items()})
    module.double().eval()
    inputs = [torch.tensor(one.astype(np.float32)).double().requires_grad_() for one in inputs]
    outputs = module(*inputs)
    weighting = [torch.tensor(rng.normal(size=tuple(one.shape)).astype(np.float32)).double() for one in outputs]
    sum((one * weight).sum() for one, weight in zip(outputs, weighting, strict=True)).backward()
    result = {}
    for kind, arrays in (("input", inputs), ("output", outputs), ("weighting", weighting)):
        result |= {f"{name} {kind} {index}": one for index, one in enumerate(arrays)}
    result |= {f"{name} input gradient {index}": one.grad for index, one in enumerate(inputs)}
    # A weight that no output depends on has no gradient at all.
    gradients = {key: one.grad for key, one in module.named_parameters() if one.grad is not None}
    result |= {f"{name} gradient of {key}": one for key, one in gradients.items()}
    return {key: one.detach().numpy().astype(np.float32) for key, one in result.items()}


def main():
    print(f"torch {torch.__version__}")
    for make in (panet, bcnet, aisformer):
        path = FOLDER / f"{make.__name__}.npz"
        np.savez_compressed(path, **make(np.random.default_rng(0)))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
