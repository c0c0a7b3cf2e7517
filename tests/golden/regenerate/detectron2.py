"""Writes tests/golden/detectors/detectron2.npz from a small detectron2 made of PyTorch layers.

Run it where torch and torchvision with its compiled operators are installed (made with torch 2.13, torchvision 0.28):

    python tests/golden/regenerate/detectron2.py

The modules are called as detectron2's are, so that the state dict has its names, and do what its documentation and
source say of mask_rcnn_R_50_FPN: images are BGR minus a mean, blocks take their stride in the first convolution,
anchors are neither rounded nor fitted to the canvas, ROIAlign is aligned, and the background is the last class.
Weights come from tests/helpers/seeded_detectron2.py on both sides; the image is in the file.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn.functional import interpolate, pad, relu
from torchvision.ops import FrozenBatchNorm2d, batched_nms, clip_boxes_to_image, roi_align

ROOT = Path(__file__).resolve().parents[3]
PATH = ROOT / "tests" / "golden" / "detectors" / "detectron2.npz"
sys.path.insert(0, str(ROOT))

from tests import seeded_detectron2 as own  # noqa: E402
from tests.helpers.seeded_detector import some_of  # noqa: E402

STRIDES = (4, 8, 16, 32, 64)
Boxes = torch.Tensor


class NormalisedConv(nn.Conv2d):
    """A convolution and the frozen batch norm after it."""

    def __init__(self, inputs, outputs, size, stride=1):
        super().__init__(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm = FrozenBatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(super().forward(x))


class Block(nn.Module):
    """A bottleneck with its stride in the first convolution."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = NormalisedConv(inputs, width, 1, stride)
        self.conv2 = NormalisedConv(width, width, 3)
        self.conv3 = NormalisedConv(width, 4 * width, 1)
        self.shortcut = NormalisedConv(inputs, 4 * width, 1, stride) if inputs != 4 * width else nn.Identity()

    def forward(self, x):
        y = self.conv3(relu(self.conv2(relu(self.conv1(x)))))
        return relu(y + self.shortcut(x))


class Stem(nn.Module):
    """The convolution and the pooling in front of the blocks."""

    def __init__(self):
        super().__init__()
        self.conv1 = NormalisedConv(3, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        return self.pool(relu(self.conv1(x)))


class ResNet50(nn.Module):
    """res2 to res5 on the stem."""

    def __init__(self):
        super().__init__()
        self.stem = Stem()
        inputs = 64
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width = 64 << stage
            row = []
            for index in range(blocks):
                row.append(Block(inputs, width, 2 if stage and not index else 1))
                inputs = 4 * width
            setattr(self, f"res{stage + 2}", nn.Sequential(*row))

    def forward(self, x):
        x = self.stem(x)
        stages = []
        for stage in (self.res2, self.res3, self.res4, self.res5):
            x = stage(x)
            stages.append(x)
        return stages


class Pyramid(nn.Module):
    """p2 to p6."""

    def __init__(self):
        super().__init__()
        self.bottom_up = ResNet50()
        for level in range(2, 6):
            setattr(self, f"fpn_lateral{level}", nn.Conv2d(64 << level, 256, 1))
            setattr(self, f"fpn_output{level}", nn.Conv2d(256, 256, 3, padding=1))

    def forward(self, x):
        stages = self.bottom_up(x)
        above, levels = None, []
        for level in range(5, 1, -1):
            lateral = getattr(self, f"fpn_lateral{level}")(stages[level - 2])
            above = lateral if above is None else lateral + interpolate(above, scale_factor=2.0, mode="nearest")
            levels.insert(0, getattr(self, f"fpn_output{level}")(above))
        return [*levels, levels[-1][:, :, ::2, ::2]]


class RPNHead(nn.Module):
    """Objectness and deltas of each level, with the anchors of a cell last."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(256, 256, 3, padding=1)
        self.objectness_logits = nn.Conv2d(256, 3, 1)
        self.anchor_deltas = nn.Conv2d(256, 12, 1)

    def forward(self, levels):
        hidden = [relu(self.conv(level)) for level in levels]
        logits = [self.objectness_logits(x).permute(0, 2, 3, 1).flatten() for x in hidden]
        deltas = [self.anchor_deltas(x).permute(0, 2, 3, 1).reshape(-1, 4) for x in hidden]
        return logits, deltas


class BoxHead(nn.Module):
    """Two dense layers over the flattened cells."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(256 * 7 * 7, 1024)
        self.fc2 = nn.Linear(1024, 1024)

    def forward(self, x):
        return relu(self.fc2(relu(self.fc1(x.flatten(1)))))


class BoxPredictor(nn.Module):
    """Scores of the classes and, last, of the background; deltas of the classes."""

    def __init__(self, classes):
        super().__init__()
        self.cls_score = nn.Linear(1024, classes + 1)
        self.bbox_pred = nn.Linear(1024, 4 * classes)

    def forward(self, x):
        return self.cls_score(x), self.bbox_pred(x)


class MaskHead(nn.Module):
    """Mask logits of the classes."""

    def __init__(self, classes):
        super().__init__()
        for number in range(1, 5):
            setattr(self, f"mask_fcn{number}", nn.Conv2d(256, 256, 3, padding=1))
        self.deconv = nn.ConvTranspose2d(256, 256, 2, 2)
        self.predictor = nn.Conv2d(256, classes, 1)

    def forward(self, x):
        for number in range(1, 5):
            x = relu(getattr(self, f"mask_fcn{number}")(x))
        return self.predictor(relu(self.deconv(x)))


class MaskRCNN(nn.Module):
    """Inference on one image that needs no resizing."""

    def __init__(self, classes):
        super().__init__()
        self.backbone = Pyramid()
        self.proposal_generator = nn.ModuleDict({"rpn_head": RPNHead()})
        self.roi_heads = nn.ModuleDict(
            {"box_head": BoxHead(), "box_predictor": BoxPredictor(classes), "mask_head": MaskHead(classes)}
        )

    def features(self, image):
        """uint8 RGB [H, W, 3] to p2..p6."""
        bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
        normalised = bgr - torch.tensor([103.53, 116.28, 123.675])[:, None, None]
        height, width = normalised.shape[1:]
        return self.backbone(pad(normalised, (0, -width % 32, 0, -height % 32))[None])

    def propose(self, levels, size):
        """The proposals of an image of `size`: 1000 of each level before NMS, at most own.PROPOSALS after."""
        logits, deltas = self.proposal_generator["rpn_head"](levels)
        boxes, scores, numbers = [], [], []
        for number, (level, level_logits, level_deltas) in enumerate(zip(levels, logits, deltas, strict=True)):
            top, places = level_logits.topk(min(1000, len(level_logits)))
            anchors = level_anchors(level.shape[2:], STRIDES[number], 32 << number)
            boxes.append(decode(level_deltas[places], anchors[places], (1, 1, 1, 1)))
            scores.append(top)
            numbers.append(torch.full_like(top, number))
        boxes, scores, numbers = clip_boxes_to_image(torch.cat(boxes), size), torch.cat(scores), torch.cat(numbers)
        there = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, scores, numbers = boxes[there], scores[there], numbers[there]
        return boxes[batched_nms(boxes, scores, numbers, 0.7)[: own.PROPOSALS]]

    def classify(self, levels, boxes, sampling_ratio):
        """Class scores, the background's last, and deltas."""
        return self.roi_heads["box_predictor"](self.roi_heads["box_head"](pool(levels, boxes, 7, sampling_ratio)))

    def detect(self, levels, proposals, size, sampling_ratio):
        """Boxes, scores, labels from 0 on, and 28x28 mask probabilities."""
        logits, deltas = self.classify(levels, proposals, sampling_ratio)
        scores = logits.softmax(dim=1)[:, :-1]
        boxes = decode(deltas.reshape(len(proposals), -1, 4), proposals[:, None], (10, 10, 5, 5))
        boxes = clip_boxes_to_image(boxes, size)
        rows, labels = torch.nonzero(scores > 0.05, as_tuple=True)
        boxes, scores = boxes[rows, labels], scores[rows, labels]
        keep = batched_nms(boxes, scores, labels, 0.5)[:100]
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        masks = self.roi_heads["mask_head"](pool(levels, boxes, 14, sampling_ratio))
        return boxes, scores, labels, masks[torch.arange(len(labels)), labels].sigmoid()


def level_anchors(size, stride, side):
    """Anchors of areas side * side about the corners of the cells."""
    height, width = size
    shapes = [(math.sqrt(side * side / ratio), ratio * math.sqrt(side * side / ratio)) for ratio in (0.5, 1.0, 2.0)]
    cell = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in shapes])
    y, x = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    return (torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4) + cell).reshape(-1, 4)


def decode(deltas, boxes, weights):
    """Boxes moved and grown by deltas; growth is bounded as from 16 to 1000 pixels."""
    deltas = deltas / torch.tensor(weights, dtype=torch.float32)
    sides = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + sides / 2 + deltas[..., :2] * sides
    half = sides * deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def pool(levels, boxes, cells, sampling_ratio):
    """Aligned ROIAlign of each box from the level that suits its size; 0 samples adapt to the box."""
    sides = boxes[:, 2:] - boxes[:, :2]
    suits = torch.floor(4 + torch.log2(sides.prod(dim=1).sqrt() / 224 + 1e-8)).clamp(2, 5).long() - 2
    result = torch.zeros(len(boxes), 256, cells, cells)
    for number in range(4):
        chosen = suits == number
        rois = torch.cat([torch.zeros(int(chosen.sum()), 1), boxes[chosen]], dim=1)
        result[chosen] = roi_align(
            levels[number], rois, cells, 1 / STRIDES[number], sampling_ratio=sampling_ratio, aligned=True
        )
    return result


def drawn_image():
    """A uint8 RGB image of 150 x 420 pixels: rectangles and noise on a gradient. P6 is not half of P5 on its canvas."""
    rng = np.random.default_rng(0)
    image = np.broadcast_to(np.linspace(60, 180, 420)[:, None], (150, 420, 3)).copy()
    for _ in range(40):
        y, x = rng.integers(0, 142), rng.integers(0, 412)
        image[y : y + rng.integers(8, 70), x : x + rng.integers(8, 90)] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def calibrated(image):
    """The seeded network, and what its output layers are scaled by and shifted to for this image."""
    model = MaskRCNN(own.CLASSES).eval()
    scales, biases = dict(own.SCALES), {}
    load(model, scales, biases)
    size = image.shape[:2]
    # One layer after the other, as what is proposed changes what the layers on it see.
    for layer, deviation in own.OUTPUTS.items():
        seen = []
        module = model.get_submodule(layer)
        hook = module.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        levels = model.features(image)
        model.detect(levels, model.propose(levels, size), size, own.SAMPLING_RATIO)
        hook.remove()
        values = torch.cat([output.movedim(1, -1).reshape(-1, output.shape[1]) for output in seen]).double()
        factor = float(np.float32(deviation / values.std(dim=0).mean()))
        scales[layer] = factor
        biases[layer] = (-factor * (values.mean(dim=0) - module.bias.double())).float().numpy()
        load(model, scales, biases)
    result = {f"scale of {layer}": np.float32(scales[layer]) for layer in own.OUTPUTS}
    return model, result | {f"bias of {layer}": bias for layer, bias in biases.items()}


def load(model, scales, biases):
    """Gives the model its seeded weights."""
    state = model.state_dict()
    arrays = own.state({name: tuple(value.shape) for name, value in state.items()}, scales, biases)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


@torch.no_grad()
def main():
    """Writes the stages of the network and what it finds, with a fixed and an adapting number of samples."""
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    image = drawn_image()
    size = image.shape[:2]
    model, result = calibrated(image)
    result["image"] = image
    levels = model.features(image)
    logits, deltas = model.proposal_generator["rpn_head"](levels)
    for number, (level, level_logits, level_deltas) in enumerate(zip(levels, logits, deltas, strict=True), start=2):
        values = {"p": level.permute(0, 2, 3, 1), "rpn_logits": level_logits, "rpn_deltas": level_deltas}
        values["anchors"] = level_anchors(level.shape[2:], STRIDES[number - 2], 32 << (number - 2))
        for name, value in values.items():
            result[f"{name}{number}"] = some_of(value.numpy(), 1500, f"{name}{number}")
    proposals = model.propose(levels, size)
    result["proposals"] = proposals.numpy()
    pooled = pool(levels, proposals, 7, 0)
    result["pooled"] = pooled[:, ::64, ::2, ::2].permute(0, 2, 3, 1).numpy()
    for ratio in (1, 2, 3, 4):
        difference = (pool(levels, proposals, 7, ratio) - pooled).norm() / pooled.norm()
        print(f"features pooled with {ratio} samples and adapting ones differ by {difference:.4f} of their norm")
    for name, ratio in (("fixed", own.SAMPLING_RATIO), ("adapting", 0)):
        for kind, value in zip(("logits", "deltas"), model.classify(levels, proposals, ratio), strict=True):
            result[f"{name} box_{kind}"] = value.numpy()
        boxes, scores, labels, masks = model.detect(levels, proposals, size, ratio)
        print(name, len(boxes), "found, of each class", torch.bincount(labels).tolist())
        found = {"boxes": boxes, "scores": scores, "labels": labels.byte(), "masks": masks[: own.MASKS]}
        result |= {f"{name} {kind}": value.numpy() for kind, value in found.items()}
    np.savez_compressed(PATH, **result)
    print(f"{PATH.name}: {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
