"""What README.md and the other documents tell their readers to type: commands and blocks of Python."""

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "kins" / "README.md")
_PROGRAM = r"(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?(?:python3?|bash|pip|srun|labelme|cat|head|cp|cd|amodal-jax)"
COMMAND = re.compile(rf"\s*{_PROGRAM} \S")
_SPAN = re.compile(r"`([^`]+)`")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block, or a command within a sentence."""

    document: str
    line: int
    language: str  # "python", "json" and so on; empty for commands and what they print
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks() -> list[Block]:
    """The fenced blocks of all documents, in their order."""
    found = []
    for path in DOCUMENTS:
        lines = path.read_text().splitlines()
        start = None
        for number, line in enumerate(lines):
            if not line.strip().startswith("```"):
                continue
            if start is None:
                start = number
                continue
            text = "\n".join(lines[start + 1 : number]) + "\n"
            found.append(Block(path.relative_to(ROOT).as_posix(), start + 2, lines[start].strip()[3:], text))
            start = None
    return found


def commands() -> list[Block]:
    """Every command, a line of a block or within a sentence, whole where it goes on over several lines."""
    found = []
    for block in blocks():
        if block.language:
            continue
        lines = block.text.splitlines()
        prompted = any(line.strip().startswith("$ ") for line in lines)
        while lines:
            number = block.text.count("\n") - len(lines)
            line = lines.pop(0)
            if not (line.strip().startswith("$ ") if prompted else COMMAND.match(line)):
                continue
            while line.endswith("\\"):
                line = f"{line[:-1].rstrip()} {lines.pop(0).strip()}"
            found.append(Block(block.document, block.line + number, "", line.strip().removeprefix("$ ")))
    return found + [
        Block(*place, "", span)
        for place, span in spans()
        if COMMAND.match(span) or (span.startswith("scripts/") and " " in span)
    ]


def spans() -> list[tuple[tuple[str, int], str]]:
    """What stands in sentences as code, with its document and line."""
    found = []
    for path in DOCUMENTS:
        fenced = False
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            fenced ^= line.strip().startswith("```")
            if not fenced:
                found += [((path.relative_to(ROOT).as_posix(), number), span) for span in _SPAN.findall(line)]
    return found
