"""Writes the golden files of tests/golden/detectors from torchvision, which the tests themselves do not need.

Run it where torch and torchvision with its compiled operators are installed (made with torch 2.13, torchvision 0.28):

    python tests/golden/regenerate/torchvision.py KITTI_IMAGES

KITTI_IMAGES is a folder with the frames named in FRAMES. Weights, drawn images and instances come from
tests/helpers/seeded_detector.py on both sides; of large arrays, values at drawn places are kept.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2, roi_heads
from torchvision.ops import box_iou

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "golden" / "detectors"
sys.path.insert(0, str(ROOT))

from tests import seeded_detector as seeded  # noqa: E402

FRAMES = ("000003", "000008")
MODELS = {"v1": maskrcnn_resnet50_fpn, "v2": maskrcnn_resnet50_fpn_v2}
MASKS = 12  # of a frame's detections whose pasted masks are kept

Images = list[torch.Tensor]


@dataclasses.dataclass
class Seeded:
    """The seeded model, and what is not drawn in it: the golden file has it from here."""

    model: Any
    scales: dict[str, float]
    values: dict[str, np.ndarray]

    def golden(self) -> dict[str, np.ndarray]:
        """The scales and values as arrays of the golden file."""
        scales = {f"scale of {name}": np.asarray(factor, np.float32) for name, factor in self.scales.items()}
        return scales | {f"value of {name}": np.asarray(value, np.float32) for name, value in self.values.items()}


@torch.no_grad()
def build(version: str, images: Images, *, opened: bool = False, **options: int) -> Seeded:
    """The seeded model, its output layers scaled and shifted for these images.

    Args:
      version: of torchvision's model.
      images: what it sees.
      opened: whether its ReLUs are opened (see `seeded.OPEN`).
      options: of the model.
    """
    model: Any = MODELS[version](weights=None, weights_backbone=None, num_classes=seeded.CLASSES, **options)
    made = Seeded(model, {}, {})
    load(made, centred=opened)
    if opened:
        open_relus(made, images)
        load(made, centred=opened)
    # One layer after the other, as what is proposed changes what the layers on it see.
    for layer, deviation in seeded.OUTPUTS.items():
        seen: list[torch.Tensor] = []
        module = model.get_submodule(layer)
        hook = module.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        model(images)
        hook.remove()
        values = torch.cat([output.movedim(1, -1).reshape(-1, output.shape[1]) for output in seen]).double()
        factor = float(np.float32(deviation / values.std(dim=0).mean()))
        made.scales[f"{layer}.weight"] = factor
        made.values[f"{layer}.bias"] = (-factor * (values.mean(dim=0) - module.bias.double())).float().numpy()
        load(made, centred=opened)
    return made


def load(made: Seeded, *, centred: bool) -> None:
    """Gives the model its seeded weights."""
    state = made.model.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}
    arrays = seeded.seeded_state(shapes, made.scales, made.values, centred=centred)
    made.model.load_state_dict(state | {name: torch.from_numpy(array) for name, array in arrays.items()})
    made.model.eval()


def open_relus(made: Seeded, images: Images) -> None:
    """Normalises what enters each ReLU, as a layer, and shifts it up.

    The values are set as the network runs, each layer's before the layers after it see its output.
    """

    def normalise(name: str):
        def hook(module, inputs):
            mean, variance = inputs[0].mean(), inputs[0].var()
            module.running_mean.fill_(mean)
            module.running_var.fill_(variance)
            module.bias.fill_(seeded.OPEN * 0.7)  # of the seeded weights' mean
            for kind, value in {"running_mean": mean, "running_var": variance, "bias": module.bias[0]}.items():
                made.values[f"{name}.{kind}"] = value.numpy().copy()

        return hook

    def shift(name: str):
        def hook(module, inputs, output):
            if f"{name}.bias" in made.values:  # the RPN's runs on one level after the other
                return None
            unbiased = output - module.bias.reshape(-1, *[1] * (output.ndim - 2))
            bias = seeded.OPEN * unbiased.std() - unbiased.mean()
            made.values[f"{name}.bias"] = bias.numpy()
            module.bias.fill_(bias)
            return unbiased + bias

        return hook

    hooks = []
    heads = ("rpn.head.conv.", "roi_heads.box_head.", "roi_heads.mask_head.", "roi_heads.mask_predictor.conv5_mask")
    for name, module in made.model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(normalise(name)))
        elif name.startswith(heads) and getattr(module, "bias", None) is not None:
            hooks.append(module.register_forward_hook(shift(name)))
    threshold = made.model.roi_heads.score_thresh
    made.model.roi_heads.score_thresh = 0.0  # so that there are masks, whatever the classes' scores are yet
    made.model(images)
    made.model.roi_heads.score_thresh = threshold
    for hook in hooks:
        hook.remove()


def drawn_images(batch: seeded.DrawnBatch) -> Images:
    return [to_tensor(batch.image(index)) for index in range(len(batch.sizes))]


def model_options(batch: seeded.DrawnBatch) -> dict[str, int]:
    """Of a model that sees the batch."""
    return {
        "min_size": batch.short_side,
        "max_size": seeded.LONG_SIDE,
        "rpn_post_nms_top_n_test": batch.proposals,
        "rpn_post_nms_top_n_train": batch.proposals,
        "box_batch_size_per_image": batch.regions,
    }


@torch.no_grad()
def stages(version: str) -> dict[str, np.ndarray]:
    """Every stage of the network on a batch of drawn images."""
    images = drawn_images(seeded.STAGES)
    made = build(version, images, **model_options(seeded.STAGES))
    model, result = made.model, made.golden()
    batch, _ = model.transform(images)
    assert tuple(batch.tensors.shape[-2:]) == seeded.STAGES.canvas
    levels = model.backbone(batch.tensors)
    logits, deltas = model.rpn.head(list(levels.values()))
    for number, outputs in enumerate(zip(levels.values(), logits, deltas, strict=True), start=2):
        for name, output in zip(("p", "rpn_logits", "rpn_deltas"), outputs, strict=True):
            key = f"{name}{number}"
            result[key] = seeded.some_of(output.permute(0, 2, 3, 1).numpy(), 1000, key)
    proposals, _ = model.rpn(batch, levels)
    pooled = model.roi_heads.box_roi_pool(levels, proposals, batch.image_sizes)
    box_logits, box_deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    for index, boxes in enumerate(proposals):
        result[f"proposals_{index}"] = boxes.numpy()
    result["box_logits"] = seeded.some_of(box_logits.numpy(), 3000, "box_logits")
    result["box_deltas"] = seeded.some_of(box_deltas.numpy(), 3000, "box_deltas")
    return result


def training(version: str) -> dict[str, np.ndarray]:
    """The samples, losses and gradients of a training step with every convolution trained and batch norm frozen.

    The mask targets are handed in, as ours differ from torchvision's on purpose: it pools the mask as ROIAlign pools
    features, half a pixel off and with soft edges; ours are whether half of a bin is covered.
    """
    torch.manual_seed(0)
    images = drawn_images(seeded.TRAINING)
    made = build(version, images, opened=True, **model_options(seeded.TRAINING))
    model = made.model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)
    for name, parameter in model.named_parameters():
        frozen_norm = isinstance(model.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)
        parameter.requires_grad_(not frozen_norm)
    targets, crops = [], []
    for index, (height, width) in enumerate(seeded.TRAINING.sizes):
        boxes, labels, masks = seeded.TRAINING.truth(index)
        crops.append(masks)
        targets.append(
            {
                "boxes": torch.from_numpy(boxes),
                "labels": torch.from_numpy(labels) + 1,
                "masks": torch.zeros(len(boxes), height, width, dtype=torch.uint8),
            }
        )
    batch, resized_targets = model.transform(images, targets)
    assert tuple(batch.tensors.shape[-2:]) == seeded.TRAINING.canvas
    truth_boxes = [target["boxes"] for target in resized_targets]
    result: dict[str, Any] = dict(made.golden())

    # What is sampled is torchvision's choice; it is written down as it is made.
    sample = model.rpn.fg_bg_sampler

    def sample_anchors(labels):
        positive, negative = sample(labels)
        for index, (one, other) in enumerate(zip(positive, negative, strict=True)):
            result[f"anchors_{index}"] = torch.cat([torch.where(one)[0], torch.where(other)[0]]).int()
            result[f"positive_anchors_{index}"] = one.sum().int()
        return positive, negative

    model.rpn.fg_bg_sampler = sample_anchors
    with torch.no_grad():
        anchors = model.rpn.anchor_generator(batch, list(model.backbone(batch.tensors).values()))
    for index, boxes in enumerate(truth_boxes):
        matched = model.rpn.proposal_matcher(box_iou(boxes, anchors[index])).clamp(min=0)
        result[f"anchor_truth_{index}"] = matched  # of every anchor; cut to the sampled ones below

    select = model.roi_heads.select_training_samples

    def select_regions(proposals, region_targets):
        selected = select(proposals, region_targets)
        for index in range(len(proposals)):
            result[f"regions_{index}"] = selected[0][index].detach()
            result[f"region_truth_{index}"] = selected[1][index].to(torch.uint8)
            result[f"region_labels_{index}"] = selected[2][index].to(torch.uint8)
        return selected

    model.roi_heads.select_training_samples = select_regions
    images_left = iter(range(len(images)))

    def given_targets(masks, boxes, matched, size):
        image = next(images_left)
        bins = [
            seeded.covered_bins(crops[image][truth], truth_boxes[image][truth].numpy(), box, size)
            for box, truth in zip(boxes.detach().numpy(), matched.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(bins)).float()

    roi_heads.project_masks_on_boxes = given_targets
    losses = model(images, targets)
    sum(losses.values()).backward()
    for index in range(len(images)):
        result[f"anchor_truth_{index}"] = result[f"anchor_truth_{index}"][result[f"anchors_{index}"].long()].byte()
    result |= losses
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad.numpy().astype(np.float64)
            products = [np.vdot(one, gradient) for one in seeded.directions(name, gradient.shape)]
            result[f"gradient of {name}"] = np.array([np.linalg.norm(gradient), *products], np.float32)
    tensors = {name: value.detach().numpy() for name, value in result.items() if isinstance(value, torch.Tensor)}
    return result | tensors


def kitti(version: str, folder: Path) -> dict[str, np.ndarray]:
    """What is found on real frames, with the pasted masks of some of it."""
    images = [to_tensor(np.asarray(Image.open(folder / f"{frame}.png").convert("RGB"))) for frame in FRAMES]
    made = build(version, images, min_size=384, max_size=1280)
    result = made.golden()
    with torch.no_grad():
        found = [made.model([image])[0] for image in images]
    for frame, one in zip(FRAMES, found, strict=True):
        print(frame, len(one["scores"]), "found, of each class", torch.bincount(one["labels"]).tolist())
        result |= {f"{frame} {name}": one[name].numpy() for name in ("boxes", "scores")}
        result[f"{frame} labels"] = one["labels"].numpy().astype(np.uint8)
        chosen = np.linspace(0, len(one["scores"]) - 1, MASKS).astype(int)
        result[f"{frame} chosen"] = chosen
        result[f"{frame} masks"] = np.packbits(one["masks"][chosen, 0].numpy() > 0.5, axis=-1)
    return result


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255


def main():
    """Writes the files of both versions of the model; a training step of the first alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kitti", type=Path, metavar="KITTI_IMAGES")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    write("v1_training", training("v1"))
    for version in MODELS:
        write(f"{version}_stages", stages(version))
        write(f"{version}_kitti", kitti(version, arguments.kitti))


def write(name: str, arrays: dict[str, Any]) -> None:
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
