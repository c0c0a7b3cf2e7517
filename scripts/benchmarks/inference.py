"""Inference: the network alone, from images on the device to small masks, and with masks pasted in the image."""

import numpy as np

from amodal_jax.predict import Predictor
from scripts.benchmarks.beside_torchvision import ratio_facts, torchvision_beside
from scripts.benchmarks.measurement import Report, Work, interleave
from scripts.benchmarks.network import (
    Inference,
    draw_examples,
    floating_point_operations,
    random_variables,
    speed_facts,
)
from scripts.benchmarks.options import Options


def measure(options: Options) -> Report:
    """Times both on the same images, beside torchvision's if asked for."""
    config = options.sized()
    examples = draw_examples(config)
    network = Inference(config, examples)
    lowered = network.lower()
    compiled = lowered.compile()
    flops = floating_point_operations(lowered)
    predictor = Predictor(config, random_variables(config))
    images = [example.image for example in examples]
    with torchvision_beside(options, examples) as torchvision:
        pairs = {
            "network": (lambda: network.call(compiled), "network"),
            "network and pasted masks": (lambda: predictor(images) and None, "whole"),
        }
        functions: dict[str, Work] = {}
        for name, (function, command) in pairs.items():
            functions[name] = function
            if torchvision:
                functions[f"torchvision's {name}"] = lambda command=command: torchvision.run(command)
        report = Report(interleave(functions, options.repeats, count=options.batch_size, unit="image"))
        report.facts["detections"] = int(np.sum(network.detections.valid))
        report.facts |= speed_facts(flops, report.measurements[0].median * options.batch_size)
        if torchvision:
            for name in pairs:
                report.facts |= ratio_facts(report.measurements, name, f"torchvision's {name}")
            report.facts["torchvision's detections"] = torchvision.last["detections"]
            report.facts |= torchvision.versions
    return report
