"""What the help of a command says of the fields of a configuration that it takes."""

import shutil
import textwrap
from collections.abc import Mapping

from amodal_jax.cli.section_source import Section, read_sections


def explain_fields(known: tuple[str, ...], values: Mapping[str, str] | None, *, with_values: bool = True) -> str:
    """Each field in words, section by section, under the option that changes it.

    Args:
      known: how the options begin that the command takes, "--data." for a section and "--" for all.
      values: of a configuration, by the fields' paths ("model.mask.kind"), as they are typed; None: the defaults.
      with_values: whether to say them; a command that takes a checkpoint's cannot know them.
    """
    values = values or {}
    kinds = {path.removesuffix(".kind"): name for path, name in values.items() if path.endswith(".kind")}
    width = max(shutil.get_terminal_size().columns - 2, 40)
    blocks = []
    for section in read_sections(kinds):
        lines = []
        for field in section.fields:
            option = f"--{field.path.replace('_', '-')}"
            if not option.startswith(known):
                continue
            value = field.default if section.kind else values.get(field.path, field.default)
            meaning = f"{field.meaning} ({field.accepts})"
            lines.append(f"  {option} {value if with_values else 'VALUE'}".rstrip())
            lines.append(textwrap.fill(meaning, width, initial_indent=" " * 8, subsequent_indent=" " * 8))
        # A kind without settings of its own is told too, so that it is known what it is.
        if lines or (section.kind and f"--{section.path}.kind".replace("_", "-").startswith(known)):
            blocks.append("\n".join([textwrap.fill(_heading(section), width), *lines]))
    return "\n\n".join(blocks)


def _heading(section: Section) -> str:
    if section.kind:
        return f"{section.path}, if --{section.path}.kind is {section.kind}: {section.meaning}"
    return f"{section.path or 'the configuration'}: {section.meaning}"
