"""The program that XLA makes for H100s, compiled on a machine without one: what it costs at the least.

Beside it stands what the arithmetic alone would take, counted from shapes. See `gpu_program/kernels.py` for what the
figures leave out.
"""

import collections
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from amodal_jax.models.blocks import BLOCK
from amodal_jax.network import Network, Variables, build_network, initialise
from amodal_jax.structures import Batch
from amodal_jax.training.optimizer import make_optimizer
from amodal_jax.training.state import create_state
from amodal_jax.training.step import parallel_train_step
from scripts.benchmarks import arithmetic
from scripts.benchmarks.example import make_batch
from scripts.benchmarks.gpu_program.hlo import read_program
from scripts.benchmarks.gpu_program.kernels import PEAK, UNKNOWN_RUNS, Kernel, kernels
from scripts.benchmarks.gpu_program.target import compile_for_devices, h100_devices
from scripts.benchmarks.measurement import Report
from scripts.benchmarks.network import draw_examples
from scripts.benchmarks.options import Options

MIB = 1 << 20
DEAREST = 40
"""Kernels that are listed."""
DETECTIONS = UNKNOWN_RUNS * BLOCK
"""Of an image, for the arithmetic of inference: as many as the kernels' loop over blocks of them is taken to have."""


@dataclasses.dataclass
class ProgramReport(Report):
    """What a program costs; `facts` are its figures, on top of the result file beside the kernels."""

    kernels: list[Kernel] = dataclasses.field(default_factory=list)
    images: int = 1  # of a card and call

    def to_json(self) -> dict[str, Any]:
        """For a result file: figures, kinds of kernels and the dearest of them, all an image."""
        return {
            **self.facts,
            "kinds": [dict(zip(("kind", *_COLUMNS), row, strict=True)) for row in self._kinds()],
            "dearest": [dict(zip(("kind", "place", "result", *_COLUMNS), row, strict=True)) for row in self._dearest()],
        }

    def table(self) -> str:
        """For people."""
        lines = [
            f"{name}: {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in self.facts.items()
        ]
        for kind, *figures in self._kinds():
            lines.append(f"{_figures(*figures)}  {kind}")
        for kind, place, result, *figures in self._dearest():
            lines.append(f"{_figures(*figures)}  {kind}  {result[:60]}  {place[-90:]}")
        return "\n".join(lines)

    def _kinds(self) -> list[tuple[Any, ...]]:
        groups = collections.defaultdict(list)
        for kernel in self.kernels:
            groups[kernel.kind].append(kernel)
        rows = [(kind, *self._costs(group)) for kind, group in groups.items()]
        return sorted(rows, key=lambda row: -row[1])

    def _dearest(self) -> list[tuple[Any, ...]]:
        dearest = sorted(self.kernels, key=lambda kernel: -kernel.seconds)[:DEAREST]
        return [(kernel.kind, kernel.place, kernel.result, *self._costs([kernel])) for kernel in dearest]

    def _costs(self, group: list[Kernel]) -> tuple[float, int, float, float]:
        """Of an image, but for the kernels' runs, which are of a call."""
        return (
            sum(kernel.seconds for kernel in group) / self.images * 1e3,
            sum(kernel.runs for kernel in group),
            sum(kernel.runs * kernel.operations for kernel in group) / self.images / 1e12,
            sum(kernel.runs * kernel.traffic for kernel in group) / self.images / 1e9,
        )


_COLUMNS = ("ms_an_image", "runs", "tflop_an_image", "gb_an_image")


def _figures(milliseconds: float, runs: int, operations: float, traffic: float) -> str:
    return f"{milliseconds:8.3f} ms {runs:5d} runs {operations:7.3f} TFLOP {traffic:7.3f} GB"


def measure(options: Options) -> ProgramReport:
    """Compiles `options.program` for `options.cards` H100s and reads what came of it."""
    if options.batch_size % options.cards:
        raise ConfigError(
            f"--batch-size is {options.batch_size}, which {options.cards} cards cannot share evenly; make it a multiple"
        )
    devices = h100_devices(options.cards, options.plugin)
    config = options.sized()
    network = build_network(config)
    batch = make_batch(draw_examples(config), config)
    variables = jax.eval_shape(lambda: initialise(network, config, jax.random.key(0)))
    lower = {"training-step": _training_step, "inference": _inference}[options.program]
    compiled = compile_for_devices(lower(network, config, variables, batch, devices))
    needed = _needed(options.program, network, variables, batch) / options.batch_size
    found = kernels(read_program(compiled.as_text().splitlines()))
    return _report(found, options.batch_size // options.cards, needed, compiled.memory_analysis(), options)


def _training_step(
    network: Network, config: Config, variables: Variables, batch: Batch, devices: list[jax.Device]
) -> Any:
    """The training loop's own step, lowered for `devices`."""
    optimizer = make_optimizer(config.train, frozen=network.frozen)
    state = jax.eval_shape(functools.partial(create_state, optimizer=optimizer), variables)
    step: Any = parallel_train_step(network, optimizer, config, devices=devices)
    stop = jax.ShapeDtypeStruct((len(devices),), jnp.int32)
    return step.lower(state, _split(batch, len(devices)), stop)


def _inference(network: Network, config: Config, variables: Variables, batch: Batch, devices: list[jax.Device]) -> Any:
    """`Network.detect`, lowered for `devices`."""
    detect: Any = jax.pmap(functools.partial(network.apply, method="detect"), in_axes=(None, 0, 0), devices=devices)
    split = _split(batch, len(devices))
    return detect.lower(variables, split.images, split.sizes)


def _split(batch: Batch, devices: int) -> Batch:
    """Its shapes, with an axis of devices in front."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((devices, len(x) // devices, *x.shape[1:]), x.dtype), batch)


def _needed(program: str, network: Network, variables: Variables, batch: Batch) -> int:
    """Multiplications of the batch."""
    if program == "training-step":
        return arithmetic.of_training(network, variables, batch)
    return arithmetic.of_inference(network, variables, batch.images, batch.sizes, DETECTIONS)


def _report(found: list[Kernel], images: int, needed: float, memory: Any, options: Options) -> ProgramReport:
    least = sum(kernel.seconds for kernel in found) / images
    floor = 2 * needed / PEAK
    return ProgramReport(
        facts={
            "program": options.program,
            "cards": options.cards,
            "images_a_card": images,
            "precision": options.config.model.compute_dtype,
            "least_ms_an_image": least * 1e3,
            "floor_ms_an_image": floor * 1e3,
            "ratio": least / floor,
            "needed_gmac_an_image": needed / 1e9,
            "tflop_an_image": sum(kernel.runs * kernel.operations for kernel in found) / images / 1e12,
            "gb_an_image": sum(kernel.runs * kernel.traffic for kernel in found) / images / 1e9,
            "kernels": sum(kernel.runs for kernel in found),
            "arguments_mib": memory.argument_size_in_bytes / MIB,
            "results_mib": memory.output_size_in_bytes / MIB,
            "shared_by_arguments_and_results_mib": memory.alias_size_in_bytes / MIB,
            "temporaries_mib": memory.temp_size_in_bytes / MIB,
            "memory_mib": _whole(memory) / MIB,
        },
        kernels=found,
        images=images,
    )


def _whole(memory: Any) -> int:
    """Bytes of arguments, results and temporaries; what is both argument and result counts once."""
    parts = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
    return sum(parts) - memory.alias_size_in_bytes
