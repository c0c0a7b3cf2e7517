"""The sections of a configuration and what their fields mean, read from the source of the files that define them.

Nothing is imported, so that a command's help needs no JAX and is there at once. What a field means stands in the string
beneath it, which is in the source alone.
"""

import ast
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_WORDS = {"int": "an integer", "float": "a number", "str": "a text", "bool": "true or false"}
_PLURALS = {"int": "integers", "float": "numbers", "str": "texts"}


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a section."""

    path: str
    """Its name behind those of the sections that it is in: "model.mlc.box_layer"."""
    accepts: str
    """What it can be, in words."""
    default: str
    """Its default, as it would be typed."""
    meaning: str
    """What its section says of it."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a configuration."""

    path: str
    """Its name, "model.mlc"; empty for the configuration itself."""
    meaning: str
    """The first paragraph of its docstring."""
    fields: tuple[Field, ...]
    """Its fields, without the sections within it."""
    kind: str | None = None
    """The kind that has to be chosen for these fields; None where they are there as it is."""


@dataclasses.dataclass(frozen=True)
class _Definition:
    """A class, or an assignment to a name, and the module that it stands in."""

    module: "_Module"
    node: Any


class _Module:
    """A source file of the package."""

    def __init__(self, name: str):
        self.name = name
        self.path = _PACKAGE.joinpath(*name.split(".")[1:])
        self.path = self.path / "__init__.py" if self.path.is_dir() else self.path.with_suffix(".py")
        self.body = ast.parse(self.path.read_text(encoding="utf-8")).body

    def find(self, name: str) -> _Definition | None:
        """What defines a name here or where it is imported from; None outside of the package."""
        for node in self.body:
            match node:
                case ast.ClassDef(name=found) | ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                    return _Definition(self, node)
                case ast.Assign(targets=[ast.Name(id=found)]) if found == name:
                    return _Definition(self, node)
                case ast.ImportFrom(module=str(module), names=names) if module.startswith(f"{_PACKAGE.name}."):
                    for alias in names:
                        if name == (alias.asname or alias.name):
                            return _module(module).find(alias.name)
        return None


@functools.cache
def _module(name: str) -> _Module:
    return _Module(name)


def read_sections(kinds: Mapping[str, str]) -> list[Section]:
    """The sections of a configuration with their defaults, each followed by those within it.

    Of a section that there are several kinds of, the chosen one comes first, then the others.

    Args:
      kinds: the chosen kinds by the section's path, "model.mask"; where there is none, it is the default.
    """
    config = _module(f"{_PACKAGE.name}.config").find("Config")
    assert config is not None
    return list(_sections(config, "", kinds))


def as_typed(value: Any) -> str:
    """A field's value as it is typed on a command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _sections(
    section: _Definition, path: str, kinds: Mapping[str, str], *, choice: Field | None = None, other: str | None = None
) -> Iterator[Section]:
    """A section and those within it: `choice` is the field of its kind, `other` its kind if that is not chosen."""
    fields, inner = [choice] if choice else [], []
    for name, (owner, annotation, default, meaning) in _own_fields(section).items():
        place = f"{path}.{name}" if path else name
        found = owner.find(annotation.id) if isinstance(annotation, ast.Name) else None
        if found is None or not isinstance(found.node, ast.ClassDef):
            fields.append(Field(place, _accepts(owner, annotation), as_typed(_value(owner, default)), meaning))
        elif any(base.node.name == "Kind" for base in _bases(found)):
            inner += list(_kinds(found, place, kinds, kinds.get(place, _default_kind(owner, default))))
        else:
            inner += list(_sections(found, place, kinds, other=other))
    yield Section(path, _meaning(section), tuple(fields), other)
    yield from inner


def _kinds(base: _Definition, path: str, kinds: Mapping[str, str], chosen: str) -> Iterator[Section]:
    """The kinds of a section, which are the files beside the one of their base class, the chosen one first."""
    names = sorted(path.stem for path in base.module.path.parent.glob("*.py") if path.stem != "__init__")
    meaning = "Which kind there is; another one comes with its defaults."
    choice = Field(f"{path}.kind", f"one of {', '.join(names)}", chosen, meaning)
    yield from _sections(_kind_class(base, chosen), path, kinds, choice=choice)
    for name in names:
        if name != chosen:
            yield from _sections(_kind_class(base, name), path, kinds, other=name)


def _own_fields(section: _Definition) -> dict[str, tuple[_Module, ast.expr, Any, str]]:
    """By name the module, the annotation, the default and the meaning of each field, inherited ones first."""
    found: dict[str, tuple[_Module, ast.expr, Any, str]] = {}
    for base in _bases(section):
        found |= _own_fields(base)
    for statement, following in itertools.pairwise([*section.node.body, None]):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=default):
                if "ClassVar" in ast.unparse(annotation):
                    continue
                text = following.value.value if _is_text(following) else ""
                found[name] = (section.module, annotation, default, " ".join(text.split()))
    return found


def _is_text(statement: Any) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def _bases(section: _Definition) -> list[_Definition]:
    names = [base.id for base in section.node.bases if isinstance(base, ast.Name)]
    return [found for name in names if (found := section.module.find(name)) is not None]


def _meaning(section: _Definition) -> str:
    return " ".join((ast.get_docstring(section.node) or "").split("\n\n")[0].split())


def _kind_class(base: _Definition, name: str) -> _Definition:
    """The settings of one kind: the class of its file that has the base class among its ancestors."""
    module = _module(f"{base.module.name}.{name}")
    classes = [_Definition(module, node) for node in module.body if isinstance(node, ast.ClassDef)]
    return next(found for found in classes if _descends(found, base))


def _descends(section: _Definition, base: _Definition) -> bool:
    return any(found.node is base.node or _descends(found, base) for found in _bases(section))


def _default_kind(module: _Module, default: Any) -> str:
    """The kind of a section's default, which is the call of its class."""
    found = module.find(default.func.id)
    assert found is not None
    return found.module.name.rpartition(".")[2]


def _accepts(module: _Module, annotation: ast.expr) -> str:
    """What a field can be, in words, from its type."""
    match annotation:
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.Name(id=name) if (found := module.find(name)) is not None:
            return _accepts(found.module, found.node.value)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            return f"one of {', '.join(str(ast.literal_eval(value)) for value in values)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[ast.Name(id=name), *_])):
            return f"{_PLURALS[name]}, separated by commas"
    raise TypeError(f"{module.name}: no words for the type {ast.unparse(annotation)}")


def _value(module: _Module, node: Any) -> Any:
    """The value of a default: a constant, its name, or a fraction of two."""
    match node:
        case ast.Name(id=name) if (found := module.find(name)) is not None:
            return _value(found.module, found.node.value)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _value(module, left) / _value(module, right)
    return ast.literal_eval(node)
