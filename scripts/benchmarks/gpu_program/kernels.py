"""What each kernel of a program costs on an H100 at the least.

A kernel takes the longer of its arithmetic at the rate of matrix products in bfloat16 and its traffic, each operand and
result once, at the rate of a large copy. No run is faster by much; a real one is slower. A loop of a length that the
program does not say counts `UNKNOWN_RUNS` times; a fusion that adds to an array in place counts nothing, since how much
of the array it touches is in its indices, and one that picks from an array counts what it picks twice.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

from scripts.benchmarks.gpu_program.hlo import Instruction, Program

PEAK = 790e12
"""Operations a second, measured on such a card: products in bfloat16, a multiplication and its sum being two."""
BANDWIDTH = 3.0e12
"""Bytes a second, read and written, of a copy on such a card."""
UNKNOWN_RUNS = 6
"""Of the body of a loop of unknown length: exact NMS ends after a few steps, and inference after the last detection."""

_NO_KERNEL = frozenset(
    ("after-all", "bitcast", "constant", "get-tuple-element", "parameter", "partition-id", "replica-id", "tuple")
)
_IN_PLACE = frozenset(("scatter", "dynamic-update-slice"))
_PICKING = frozenset(("gather", "dynamic-slice"))


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel as it stands in the program; the costs are those of one run."""

    kind: str
    place: str  # in the network
    result: str
    runs: int
    operations: int
    traffic: int  # bytes

    @property
    def seconds(self) -> float:
        """The least that its runs take."""
        return self.runs * max(self.operations / PEAK, self.traffic / BANDWIDTH)


def kernels(program: Program) -> list[Kernel]:
    """All kernels of a program, in the order in which they run."""
    return list(_of_computation(program, program.entry, 1))


def _of_computation(program: Program, name: str, runs: int) -> Iterator[Kernel]:
    for one in program.computations[name]:
        match one.operation:
            case "while":
                count = one.attribute(r'known_trip_count":\{"n":"(\d+)"')
                body = one.attribute(r"body=(%[\w.\-]+)") or ""
                yield from _of_computation(program, body, runs * (int(count) if count else UNKNOWN_RUNS))
            case "conditional" | "call":
                for called in re.findall(r"(?:to_apply=|branch_computations=\{|calls=)(%[\w.\-]+)", one.attributes):
                    yield from _of_computation(program, called, runs)
            case operation if operation not in _NO_KERNEL:
                kind, operations, traffic = _cost(program, one)
                yield Kernel(kind, one.place, one.shape.text, runs, operations, traffic)


def _cost(program: Program, one: Instruction) -> tuple[str, int, int]:
    """Kind, operations and bytes of one run."""
    traffic = one.shape.bytes + sum(shape.bytes for shape in program.operand_shapes(one))
    if one.operation == "fusion":
        return _fusion(program, one, traffic)
    target = one.target
    if "conv" in target.lower():
        return target, _convolution(program, one), traffic
    if "gemm" in target.lower() or "cublas" in target.lower():
        axes = one.attribute(r'"lhs_contracting_dimensions":\[([^\]]*)\]') or ""
        return target, _product(program, one, re.findall(r"\d+", axes)), traffic
    return target or one.operation, 0, traffic


def _fusion(program: Program, one: Instruction, traffic: int) -> tuple[str, int, int]:
    inside = program.called(one)
    found = {inner.operation for inner in inside}
    if found & _IN_PLACE:
        return "fusion with scatter or update in place", 0, 0
    kind = "fusion"
    if found & _PICKING:
        kind, traffic = "fusion with gather", 2 * one.shape.bytes
    operations = 0
    for inner in inside:
        if inner.operation == "dot":
            kind = "fusion with dot (Triton)"
            axes = inner.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
            operations += _product(program, inner, re.findall(r"\d+", axes))
    return kind, operations, traffic


def _product(program: Program, one: Instruction, contracted: list[str]) -> int:
    """Two operations for each element of the result and each place along the contracted axes of the left operand."""
    left = program.operand_shapes(one)[0].lengths
    return 2 * one.shape.size * math.prod(left[int(axis)] for axis in contracted)


def _convolution(program: Program, one: Instruction) -> int:
    """Two operations for each tap of each output of the forward convolution whose result or gradient it is."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    if labels is None:
        raise ValueError(f"{one.name}: a convolution whose axes the program does not name")
    first, second = program.operand_shapes(one)[:2]
    if "BackwardFilter" in one.target:
        # Operands are the input and the gradient of the output.
        window = (one.attribute(r"window=\{size=([\dx]+)") or "1").split("x")
        return 2 * second.size * math.prod(map(int, window)) * first.lengths[labels[1].index("f")]
    if "BackwardInput" in one.target:
        # Operands are the gradient of the output and the kernel.
        return 2 * first.size * second.size // first.lengths[labels[1].index("f")]
    return 2 * one.shape.size * second.size // second.lengths[labels[2].index("o")]
