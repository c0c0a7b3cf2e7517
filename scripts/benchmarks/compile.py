"""What a first call costs: tracing and XLA's compilation of the training step and of inference."""

import jax

from scripts.benchmarks.measurement import Measurement, Report, once
from scripts.benchmarks.network import Inference, TrainingStep, draw_examples
from scripts.benchmarks.options import Options


def measure(options: Options) -> Report:
    """Traces and compiles both, `repeats` times, with no compilation kept from before."""
    kept = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        return _measure(options)
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)


def _measure(options: Options) -> Report:
    config = options.sized()
    examples = draw_examples(config)
    report = Report()
    for name, make in (("training step", TrainingStep), ("inference", Inference)):
        program = make(config, examples)
        tracing, compiling = Measurement(f"tracing, {name}", [], []), Measurement(f"compilation, {name}", [], [])
        for _ in range(options.repeats):
            jax.clear_caches()
            traced, lowered = once("", program.lower)
            compiled, _ = once("", lowered.compile)
            for whole, part in ((tracing, traced), (compiling, compiled)):
                whole.seconds += part.seconds
                whole.cpu_seconds += part.cpu_seconds
        report.measurements += [tracing, compiling]
    return report
