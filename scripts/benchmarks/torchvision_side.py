"""torchvision's Mask R-CNN on the same work, in a Python of its own: `beside_torchvision` starts and asks it.

    python scripts/scripts/benchmarks/torchvision_side.py SETTINGS.json

Reads one command a line from standard input, "train", "network" (boxes and small masks) or "whole" (masks pasted in the
image too), and answers each with a line of json. Imports neither JAX nor anything of this project.
"""

import importlib
import json
import os
import sys
import time


def main() -> None:
    """Builds the model and serves."""
    # Whatever PyTorch or a compiler prints goes to stderr; the answers have standard output to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    if settings["setup"]:
        importlib.import_module(settings["setup"])
    import torch
    import torchvision

    model = Model(settings)
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "threads": torch.get_num_threads()}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(model.run(line.strip())), file=answers, flush=True)


class Model:
    """A seeded `maskrcnn_resnet50_fpn`, built as its pretrained constructor builds it."""

    def __init__(self, settings: dict):
        import numpy as np
        import torch
        from torchvision.models import resnet50
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
        from torchvision.ops.misc import FrozenBatchNorm2d

        torch.set_num_threads(settings["threads"])
        torch.manual_seed(0)
        self._torch = torch
        self._cuda = torch.cuda.is_available()
        self._autocast = settings["bfloat16"]
        device = "cuda" if self._cuda else "cpu"
        backbone = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
            for block in stage:
                block.bn3.weight.fill_(settings["branch_scale"])
        backbone = _resnet_fpn_extractor(backbone, settings["trainable_layers"])
        self._model = MaskRCNN(backbone, **settings["model"]).to(device)
        self._postprocess = self._model.transform.postprocess
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.SGD(trained, **settings["optimizer"])
        self._images, self._targets = [], []
        for path in settings["examples"]:
            example = np.load(path)
            self._images.append(torch.from_numpy(example["image"]).permute(2, 0, 1).to(device).float() / 255)
            self._targets.append(
                {
                    "boxes": torch.from_numpy(example["boxes"]).to(device),
                    "labels": torch.from_numpy(example["labels"]).long().to(device) + 1,
                    "masks": torch.from_numpy(example["masks"]).to(device),
                }
            )

    def run(self, command: str) -> dict:
        """One repetition: its time and facts about its result."""
        if self._cuda:
            self._torch.cuda.synchronize()
            self._torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter(), time.process_time()
        with self._torch.autocast("cuda" if self._cuda else "cpu", self._torch.bfloat16, enabled=self._autocast):
            facts = self._train() if command == "train" else self._detect(whole=command == "whole")
        if self._cuda:
            self._torch.cuda.synchronize()
        ended = time.perf_counter(), time.process_time()
        if self._cuda:
            facts["peak_bytes"] = self._torch.cuda.max_memory_allocated()
        return {"seconds": ended[0] - started[0], "cpu_seconds": ended[1] - started[1]} | facts

    def _train(self) -> dict:
        self._model.train()
        losses = self._model(self._images, self._targets)
        loss = sum(losses.values())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return {"loss": float(loss.detach())}

    def _detect(self, *, whole: bool) -> dict:
        self._model.eval()
        self._model.transform.postprocess = self._postprocess if whole else lambda result, *_: result
        with self._torch.inference_mode():
            found = self._model(self._images)
        return {"detections": sum(len(one["scores"]) for one in found)}


if __name__ == "__main__":
    main()
