"""Memory of the training step and of inference: as XLA plans it, and as the process or the device saw it."""

from pathlib import Path

import jax

from scripts.benchmarks.measurement import Report
from scripts.benchmarks.network import Inference, TrainingStep, draw_examples
from scripts.benchmarks.options import Options

MIB = 1 << 20


def measure(options: Options) -> Report:
    """Runs both a few times and reports MiB."""
    config = options.sized()
    examples = draw_examples(config)
    report = Report()
    for name, make in (("training step", TrainingStep), ("inference", Inference)):
        program = make(config, examples)
        compiled = program.lower().compile()
        planned = compiled.memory_analysis()
        program.call(compiled)
        _forget_peak()
        for _ in range(options.repeats):
            program.call(compiled)
        sizes = {
            "arguments": planned.argument_size_in_bytes,
            "outputs": planned.output_size_in_bytes,
            "shared by arguments and outputs": planned.alias_size_in_bytes,
            "temporaries": planned.temp_size_in_bytes,
            "process, peak while running": _process_peak(),
        }
        statistics = jax.local_devices()[0].memory_stats()
        if statistics:
            # The device keeps the greatest of its life, so that the second program's hides behind the first one's.
            sizes["device, peak so far"] = statistics["peak_bytes_in_use"]
        report.facts |= {f"{name}: {kind}, MiB": round(size / MIB) for kind, size in sizes.items() if size is not None}
        del program, compiled
    return report


def _forget_peak() -> None:
    """Has Linux count the process's peak from now on."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _process_peak() -> int | None:
    """Bytes; None where the system does not say."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    (line,) = (line for line in path.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
