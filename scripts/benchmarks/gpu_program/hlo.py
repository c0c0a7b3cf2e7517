"""Reads a compiled program from XLA's text of it, as far as its kernels' costs need."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterable

_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?(?P<name>%[\w.\-]+) .*\{\s*$")
_INSTRUCTION = re.compile(
    r"\s+(?:ROOT )?(?P<name>%[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<operation>[\w\-]+)\((?P<rest>.*)$"
)
_NAME = re.compile(r"%[\w.\-]+")
_ARRAY = re.compile(r"\b(?P<type>[a-z]\w*)\[(?P<lengths>[\d,]*)\]")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_BYTES |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}


@dataclasses.dataclass(frozen=True)
class Shape:
    """The type of a value: of an array, or of a tuple of arrays."""

    text: str

    @functools.cached_property
    def arrays(self) -> list[tuple[str, tuple[int, ...]]]:
        """Element type and lengths of the axes of each array."""
        return [
            (array["type"], tuple(int(length) for length in array["lengths"].split(",") if length))
            for array in _ARRAY.finditer(self.text)
        ]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the axes of the array, or of a tuple's first."""
        return self.arrays[0][1]

    @property
    def size(self) -> int:
        """Elements of the array, or of a tuple's first."""
        return math.prod(self.lengths)

    @property
    def bytes(self) -> int:
        """Of all arrays; types that are no numbers, such as tokens, have none."""
        return sum(_BYTES.get(kind, 0) * math.prod(lengths) for kind, lengths in self.arrays)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: Shape
    operation: str
    operands: tuple[str, ...]
    attributes: str  # the rest of the line

    def attribute(self, pattern: str) -> str | None:
        """The first group of the pattern's first match in the attributes; None without one."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None

    @property
    def target(self) -> str:
        """What a custom call calls; empty for other operations."""
        return self.attribute(r'custom_call_target="([^"]+)"') or ""

    @property
    def place(self) -> str:
        """Where in the network the operation was written, or its name where it is the compiler's own."""
        return self.attribute(r'op_name="([^"]*)"') or self.name


@dataclasses.dataclass(frozen=True)
class Program:
    """Computations by name, each a list of instructions in the order in which they run."""

    computations: dict[str, list[Instruction]]
    entry: str

    @functools.cached_property
    def shapes(self) -> dict[str, Shape]:
        """Of every value, by name."""
        return {one.name: one.shape for instructions in self.computations.values() for one in instructions}

    def operand_shapes(self, instruction: Instruction) -> list[Shape]:
        """Of the values that an instruction reads."""
        return [self.shapes[name] for name in instruction.operands if name in self.shapes]

    def called(self, instruction: Instruction) -> list[Instruction]:
        """The instructions of a fusion."""
        return self.computations[instruction.attribute(r"calls=(%[\w.\-]+)") or ""]


def read_program(lines: Iterable[str]) -> Program:
    """The program of a text such as `compiled.as_text()` gives, line by line.

    Raises:
      ValueError: the text has no computation to start with.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = None, None
    for line in lines:
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head["name"], [])
            entry = head["name"] if head["entry"] else entry
        elif current is not None and (found := _INSTRUCTION.match(line)):
            arguments, _, attributes = found["rest"].partition(")")
            operands = tuple(_NAME.findall(arguments))
            current.append(Instruction(found["name"], Shape(found["shape"]), found["operation"], operands, attributes))
    if entry is None:
        raise ValueError("the text is no program of XLA: it has no line that begins with ENTRY")
    return Program(computations, entry)
