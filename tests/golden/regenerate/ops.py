"""Writes the golden files of tests/golden/ops from torchvision, which the tests themselves do not need.

Run it where torch and torchvision with its compiled operators are installed (made with torch 2.13, torchvision 0.28):

    python tests/golden/regenerate/ops.py

Every case is drawn from a fixed seed, so that running it again changes nothing but what torchvision changed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch.nn.functional import grid_sample, interpolate
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.transform import GeneralizedRCNNTransform

FOLDER = Path(__file__).resolve().parents[3] / "tests" / "golden" / "ops"


def random_boxes(rng, count, height, width, smallest=1.0, largest=100.0):
    """Boxes of log-uniform sides whose centres lie in the image; they may reach beyond it."""
    side = np.exp(rng.uniform(np.log(smallest), np.log(largest), (count, 2)))
    centre = rng.uniform(size=(count, 2)) * [width, height]
    return np.concatenate([centre - side / 2, centre + side / 2], axis=1).astype(np.float32)


def boxes(rng):
    """IoU, clipping, encoding and decoding, with growth beyond the bound."""
    a, b = torch.tensor(random_boxes(rng, 40, 90, 120)), torch.tensor(random_boxes(rng, 25, 90, 120))
    weights = (10.0, 10.0, 5.0, 5.0)
    coder = BoxCoder(weights)
    other = torch.tensor(random_boxes(rng, 40, 90, 120))
    deltas = torch.tensor(rng.normal(0, 15, (40, 12)).astype(np.float32))
    return {
        "a": a,
        "b": b,
        "other": other,
        "iou": torchvision.ops.box_iou(a, b),
        "clipped": torchvision.ops.clip_boxes_to_image(a, (80, 100)),
        "encoded": coder.encode_single(other, a),
        "deltas": deltas,
        "decoded": coder.decode(deltas, [a]),
    }


def anchors(rng):
    """Five levels under an image whose coarsest level is rounded up, so that its strides are odd."""
    sizes = [(24, 56), (12, 28), (6, 14), (3, 7), (2, 4)]
    generator = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    image = torch.zeros(1, 3, 96, 224)
    result = generator(ImageList(image, [(96, 224)]), [torch.zeros(1, 1, *size) for size in sizes])[0]
    return {"feature_sizes": np.array(sizes), "image_size": np.array([96, 224]), "anchors": result}


def matching(rng):
    """The matchers of the RPN and of the box head; boxes on a grid make exact ties."""
    proposals = np.concatenate(
        [random_boxes(rng, 150, 60, 80, 8, 40), 8 * np.round(random_boxes(rng, 150, 60, 80) / 8)]
    )
    proposals[:, 2:] = np.maximum(proposals[:, 2:], proposals[:, :2] + 1)
    # Every ground truth overlaps some proposal: the one case where the semantics differ on purpose.
    truth = np.concatenate([proposals[:150:19] + rng.normal(0, 3, (8, 4)), [[24, 24, 40, 40]]]).astype(np.float32)
    iou = torchvision.ops.box_iou(torch.tensor(truth), torch.tensor(proposals.astype(np.float32)))
    assert (iou.max(dim=1).values > 0).all()
    return {
        "proposals": proposals.astype(np.float32),
        "truth": truth,
        "rpn": Matcher(0.7, 0.3, allow_low_quality_matches=True)(iou),
        "heads": Matcher(0.5, 0.5, allow_low_quality_matches=False)(iou),
    }


def nms(rng):
    """Crowded boxes with tied scores, at several thresholds."""
    candidates = random_boxes(rng, 600, 100, 100, 20, 60)
    candidates[300:] = np.round(candidates[300:] / 4) * 4
    candidates[-3:] = candidates[0]
    scores = np.round(rng.uniform(size=600), 2).astype(np.float32)
    result = {"boxes": candidates, "scores": scores, "thresholds": np.array([0.1, 0.3, 0.5, 0.7])}
    for index, threshold in enumerate(result["thresholds"]):
        kept = torchvision.ops.nms(torch.tensor(candidates), torch.tensor(scores), float(threshold))
        result[f"keep_{index}"] = np.isin(np.arange(600), kept.numpy())
    return result


def roi_align(rng):
    """One level with boxes over, at and beyond every border, and a pyramid; values and gradients of the features."""
    result = {}
    features = rng.normal(size=(1, 4, 13, 17)).astype(np.float32)
    rois = np.concatenate(
        [
            random_boxes(rng, 20, 13 * 4, 17 * 4, 2, 60),
            [[-9, -9, 3, 3], [-30, 10, -10, 20], [60, 40, 90, 70], [67, 51, 68, 52], [0, 0, 68, 52], [20, 20, 20, 20]],
            [[-4, -4, 72, 56], [10, 10, 10.5, 40], [100, 100, 120, 120]],
        ]
    ).astype(np.float32)
    result |= {"features": features[0].transpose(1, 2, 0), "boxes": rois}
    for name, size, sampling_ratio, aligned in [
        ("a", 7, 2, True),
        ("b", 7, 2, False),
        ("c", 3, 1, True),
        ("d", 2, 3, True),
    ]:
        leaf = torch.tensor(features, requires_grad=True)
        pooled = torchvision.ops.roi_align(leaf, [torch.tensor(rois)], size, 0.25, sampling_ratio, aligned)
        cotangent = torch.cos(torch.arange(pooled.numel(), dtype=torch.float32)).reshape(pooled.shape)
        pooled.backward(cotangent)
        result[f"{name}_settings"] = np.array([size, sampling_ratio, aligned])
        result[f"{name}_pooled"] = pooled.permute(0, 2, 3, 1)
        result[f"{name}_cotangent"] = cotangent.permute(0, 2, 3, 1)
        result[f"{name}_gradient"] = leaf.grad[0].permute(1, 2, 0)

    maps = [torch.tensor(rng.normal(size=(1, 3, 32 // 2**k, 48 // 2**k)).astype(np.float32)) for k in range(4)]
    for leaf in maps:
        leaf.requires_grad_()
    # The last three lie exactly on the limits between levels.
    exact = [[4, 4, 116, 116], [0, 4, 224, 228], [0, 0, 448, 448]]
    rois = np.concatenate([random_boxes(rng, 21, 128, 192, 6, 700), exact]).astype(np.float32)
    pool = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 5, 2)
    pooled = pool({str(k): leaf for k, leaf in enumerate(maps)}, [torch.tensor(rois)], [(128, 192)])
    cotangent = torch.cos(torch.arange(pooled.numel(), dtype=torch.float32)).reshape(pooled.shape)
    pooled.backward(cotangent)
    result |= {"levels_boxes": rois, "levels_pooled": pooled.permute(0, 2, 3, 1)}
    result["levels_cotangent"] = cotangent.permute(0, 2, 3, 1)
    for k, leaf in enumerate(maps):
        result[f"levels_features_{k}"] = leaf[0].permute(1, 2, 0)
        result[f"levels_gradient_{k}"] = leaf.grad[0].permute(1, 2, 0)
    return result


def resize(rng):
    """Sizes by the detectors' transform, and images up and down."""
    sizes = [
        (375, 1242),
        (370, 1224),
        (376, 1241),
        (374, 1238),
        (480, 640),
        (640, 480),
        (33, 1000),
        (500, 333),
        (97, 97),
    ]
    sizes += [tuple(size) for size in rng.integers(20, 2000, (60, 2))]
    limits = [(800, 1333), (800, 3000), (416, 1344), (384, 1248)]
    result = {"sizes": np.array(sizes), "limits": np.array(limits)}
    targets = []
    for short, long in limits:
        transform = GeneralizedRCNNTransform(short, long, [0.0] * 3, [1.0] * 3)
        targets.append([transform.resize(torch.zeros(3, *size), None)[0].shape[-2:] for size in sizes])
    result["resized"] = np.array(targets)
    image = rng.integers(0, 256, (23, 31, 3)).astype(np.uint8)
    result["image"] = image
    for name, target in {"up": (40, 53), "down": (11, 17), "mixed": (23, 90)}.items():
        planes = torch.tensor(image).permute(2, 0, 1)[None].float()
        result[f"image_{name}"] = interpolate(planes, target, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    return result


def mask_output(rng):
    """Masks pasted in boxes within, over and beyond the borders of the image, packed in bits."""
    coarse = torch.tensor(rng.normal(size=(24, 1, 7, 7)).astype(np.float32))
    masks = torch.sigmoid(3 * interpolate(coarse, (28, 28), mode="bicubic"))
    size = (70, 110)
    edges = [
        [0, 0, 110, 70],
        [-20, -10, 40, 30],
        [90, 50, 140, 100],
        [10, 10, 10.4, 10.2],
        [30.5, 20.5, 31.5, 60],
        [-50, 0, 3, 9],
    ]
    rois = np.concatenate([random_boxes(rng, 18, *size, 3, 90), edges]).astype(np.float32)
    pasted = paste_masks_in_image(masks, torch.tensor(rois), size)[:, 0] > 0.5
    return {"masks": masks[:, 0], "boxes": rois, "image_size": np.array(size), "packed": np.packbits(pasted, axis=-1)}


def masks(rng):
    """The share of whole masks in the bins of regions, by ROIAlign as detectron2 cuts its mask targets."""
    y, x = np.mgrid[:150, :200] + 0.5
    whole, rois, targets = [], [], []
    for _ in range(10):
        centre, radius = rng.uniform([70, 55], [130, 95]), np.exp(rng.uniform(np.log(18), np.log(45)))
        angle = np.arctan2(y - centre[1], x - centre[0])
        outline = radius * (0.8 + 0.2 * np.sin(rng.integers(2, 6) * angle + rng.uniform(0, 6)))
        mask = np.hypot(x - centre[0], (y - centre[1]) * rng.uniform(0.8, 1.2)) <= outline
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        truth = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
        sides = np.tile(truth[2:] - truth[:2], 2)
        frames = np.stack([truth, *(truth + rng.uniform(-0.15, 0.15, (2, 4)) * sides)]).astype(np.float32)
        image = torch.tensor(mask)[None, None].float()
        cut = torchvision.ops.roi_align(image, [torch.tensor(frames)], 28, 1.0, sampling_ratio=0, aligned=True)[:, 0]
        whole.append(np.packbits(mask, axis=-1))
        rois.append(frames)
        targets.append(cut.numpy())
    return {"masks": np.stack(whole), "rois": np.stack(rois), "coverage": np.stack(targets).astype(np.float16)}


def mask_paste(rng):
    """Probabilities at the centres of an image's pixels, as detectron2 samples them: zero outside of the grid.

    In boxes within, over and beyond the borders of the image, some of them under a pixel wide; [N, H, W].
    """
    coarse = torch.tensor(rng.normal(size=(12, 1, 7, 7)).astype(np.float32))
    masks = torch.sigmoid(3 * interpolate(coarse, (28, 28), mode="bicubic"))
    height, width = 50, 80
    edges = [
        [0, 0, 80, 50],
        [-20, -10, 40, 30],
        [60, 30, 100, 90],
        [10.2, 10.3, 10.9, 10.8],
        [30.5, 20.5, 31.5, 45],
        [-50, 0, 0.25, 9],
    ]
    rois = np.concatenate([random_boxes(rng, 6, height, width, 3, 60), edges]).astype(np.float32)
    x1, y1, x2, y2 = torch.tensor(rois)[:, :, None].unbind(dim=1)
    # -1 and 1 are the sides of the box.
    x = (torch.arange(width) + 0.5 - x1) / (x2 - x1) * 2 - 1
    y = (torch.arange(height) + 0.5 - y1) / (y2 - y1) * 2 - 1
    places = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
    sampled = grid_sample(masks, places, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]
    return {"masks": masks[:, 0], "boxes": rois, "probability": sampled}


def main():
    """Writes one file per operation."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, make in enumerate([boxes, anchors, matching, nms, roi_align, resize, mask_output, masks, mask_paste]):
        arrays: dict[str, Any] = {
            name: np.asarray(getattr(value, "detach", lambda value=value: value)())
            for name, value in make(np.random.default_rng(seed)).items()
        }
        path = FOLDER / f"{make.__name__}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
