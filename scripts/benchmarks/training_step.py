"""One step of the training loop: forward, backward and optimiser, of images with instances, data on the device."""

import math

from amodal_jax.errors import TrainingError
from scripts.benchmarks.beside_torchvision import ratio_facts, torchvision_beside
from scripts.benchmarks.measurement import Report, Work, interleave
from scripts.benchmarks.network import TrainingStep, draw_examples, floating_point_operations, speed_facts
from scripts.benchmarks.options import Options


def measure(options: Options) -> Report:
    """Times steps on the same images, beside torchvision's if asked for."""
    config = options.sized()
    examples = draw_examples(config)
    step = TrainingStep(config, examples)
    lowered = step.lower()
    compiled = lowered.compile()
    flops = floating_point_operations(lowered)
    with torchvision_beside(options, examples) as torchvision:
        functions: dict[str, Work] = {"training step": lambda: step.call(compiled)}
        if torchvision:
            functions["torchvision's training step"] = lambda: torchvision.run("train")
        report = Report(
            interleave(functions, options.repeats, warm_up=2, count=options.batch_size, unit="image"),
        )
        if not math.isfinite(step.metrics["loss"]):
            raise TrainingError("the loss is not finite, so that the times say nothing; lower --train.learning-rate")
        report.facts |= {"loss": step.metrics["loss"]}
        report.facts |= speed_facts(flops, report.measurements[0].median * options.batch_size)
        if torchvision:
            report.facts |= ratio_facts(report.measurements, *functions)
            report.facts |= {f"torchvision's {name}": value for name, value in torchvision.last.items()}
            report.facts |= torchvision.versions
    return report
